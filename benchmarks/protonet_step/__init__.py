"""The parts of `benchmarks/protonet_training.py`. `settings`, `network`, `with_plain` and `with_easyfsl` run in the
peers' environment too, so that they import no more than torch, safetensors and the peer there.
"""
