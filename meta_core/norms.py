"""Which batch norms a network has, and what they do with a batch."""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

BatchNorm: TypeAlias = nn.modules.batchnorm._BatchNorm


def normalizes_batches(module: nn.Module) -> bool:
    """Whether a layer normalizes by the batch it sees."""
    return any(layer.training or not layer.track_running_stats for layer in _batch_norms(module))


def keeps_statistics(module: nn.Module) -> bool:
    """Whether a layer keeps statistics of the batches it sees, which threads would write at once."""
    return bool(statistics_kept(module))


def statistics_kept(module: nn.Module) -> list[BatchNorm]:
    """The layers that keep statistics of the batches they see."""
    return [layer for layer in _batch_norms(module) if layer.training and layer.track_running_stats]


def flat_statistics(layers: Sequence[BatchNorm]) -> Tensor:
    """What the layers keep, one after the other: the means, the variances, the number of batches; a copy."""
    return torch.cat([buffer.flatten().float() for layer in layers for buffer in _buffers(layer)])


def join_statistics(layers: Sequence[BatchNorm], before: Tensor, after: Sequence[Tensor]) -> None:
    """Set the layers to what they would keep had the batches of several copies come one copy after the other.

    A copy's k batches make of a moving average a₀ its own a = (1 − m)ᵏ a₀ + b, m being the layer's momentum and b what
    they bring; so of any other average x they make a + (1 − m)ᵏ (x − a₀).

    Args:
        layers: to be set.
        before: what all copies began with, as `flat_statistics` has it.
        after: what each has now.
    """
    place = 0
    for layer in layers:
        mean, variance, batches = _buffers(layer)
        averages, end = slice(place, place + 2 * len(mean)), place + 2 * len(mean)
        began, found, seen = before[averages], before[averages], before[end]
        for copy in after:
            further = copy[end] - before[end]
            found = copy[averages] + (1 - _momentum(layer)) ** further * (found - began)
            seen = seen + further
        mean.copy_(found[: len(mean)])
        variance.copy_(found[len(mean) :])
        batches.copy_(seen)
        place = end + 1


def _buffers(layer: BatchNorm) -> tuple[Tensor, Tensor, Tensor]:
    mean, variance, batches = layer.running_mean, layer.running_var, layer.num_batches_tracked
    if mean is None or variance is None or batches is None:
        raise TypeError(f"{layer} keeps no statistics")
    return mean, variance, batches


def _momentum(layer: BatchNorm) -> float:
    if layer.momentum is None:
        raise NotImplementedError(f"{layer} averages over all batches alike; expected a momentum, as 0.1")
    return layer.momentum


def _batch_norms(module: nn.Module) -> list[BatchNorm]:
    return [layer for layer in module.modules() if isinstance(layer, BatchNorm)]
