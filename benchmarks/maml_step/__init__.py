"""The parts of `benchmarks/training.py`. `settings`, `network`, `worker` and `with_*` run in the peers' environments
too, so that they import no more than torch and safetensors there.
"""
