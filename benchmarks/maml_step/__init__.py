"""The parts of `benchmarks/maml_training.py`. `settings`, `network` and `with_*` run in the peers' environment too, so
that they import no more than torch and safetensors there.
"""
