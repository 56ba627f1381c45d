"""The network that peers train: Conv-4-64 and a linear head as a plain `nn.Sequential`, in torch's own layers."""

import torch
from torch import nn

from maml_step.settings import SIDE, WAYS, WIDTH, Settings, Weights

BLOCKS = 4


def plain(settings: Settings, weights: Weights) -> nn.Sequential:
    """The network with the initial weights, in training mode.

    Convolutions have no bias, which the norm would take off again; batch norm keeps no running statistics, which
    nobody would read.
    """
    side = SIDE
    blocks = []
    for number in range(BLOCKS):
        blocks.append(_block(WIDTH if number else 1, settings))
        side //= 2
    network = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(WIDTH * side * side, WAYS)).to(settings.torch_dtype)
    for parameter, name in zip(network.parameters(), names(), strict=True):
        parameter.data.copy_(weights[name])
    if settings.layout != "nchw":
        network = network.to(memory_format=torch.channels_last)
    return network


def names() -> list[str]:
    """The parameters' names in the common file, in the order of `nn.Module.parameters`."""
    layers = [f"{number}.{name}" for number in range(BLOCKS) for name in ("0.weight", "1.weight", "1.bias")]
    return [*layers, "head.weight", "head.bias"]


def gradients_of(network: nn.Module) -> Weights:
    """What `backward` left in the parameters, by the names of the common file."""
    found = {name: parameter.grad for name, parameter in zip(names(), network.parameters(), strict=True)}
    return {name: value for name, value in found.items() if value is not None}


def _block(inputs: int, settings: Settings) -> nn.Sequential:
    norm = nn.BatchNorm2d(WIDTH, track_running_stats=False) if settings.norm == "batch" else nn.GroupNorm(8, WIDTH)
    tail: list[nn.Module] = [nn.ReLU(), nn.MaxPool2d(2)]
    if settings.order == "pool_first":
        tail.reverse()
    return nn.Sequential(nn.Conv2d(inputs, WIDTH, 3, padding=1, bias=False), norm, *tail)
