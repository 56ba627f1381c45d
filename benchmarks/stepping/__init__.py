"""Training steps of kshot and its peers timed in turn, each contestant in a process of its own. `worker` runs in the
peers' environment too, so that it imports no more than torch and safetensors there.
"""
