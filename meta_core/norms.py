"""Which batch norms a network has, and what they do with a batch."""

from torch import nn


def normalizes_batches(module: nn.Module) -> bool:
    """Whether a layer normalizes by the batch it sees."""
    return any(layer.training or not layer.track_running_stats for layer in _batch_norms(module))


def keeps_statistics(module: nn.Module) -> bool:
    """Whether a layer keeps statistics of the batches it sees, which threads would write at once."""
    return any(layer.training and layer.track_running_stats for layer in _batch_norms(module))


def _batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
