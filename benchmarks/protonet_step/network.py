"""The network that peers train: Conv-4-64 as a plain `nn.Sequential`, in torch's own layers and the papers' order."""

import torch
from torch import nn

from protonet_step.settings import WIDTH, Settings, Weights

BLOCKS = 4
_PREFIX = "weights."


def plain(settings: Settings, tensors: Weights) -> nn.Sequential:
    """The network with the initial weights, in training mode; convolutions without a bias, which the norm undoes."""
    blocks = [_block(WIDTH if number else 1) for number in range(BLOCKS)]
    network = nn.Sequential(*blocks, nn.Flatten()).to(settings.torch_dtype)
    for parameter, name in zip(network.parameters(), names(), strict=True):
        parameter.data.copy_(tensors[_PREFIX + name])
    if settings.layout != "nchw":
        network = network.to(memory_format=torch.channels_last)
    return network


def names() -> list[str]:
    """The parameters' names in the common file, in the order of `nn.Module.parameters`."""
    return [f"{number}.{name}" for number in range(BLOCKS) for name in ("0.weight", "1.weight", "1.bias")]


def gradients_of(network: nn.Module) -> Weights:
    """What `backward` left in the parameters, by the names of the common file."""
    found = {name: parameter.grad for name, parameter in zip(names(), network.parameters(), strict=True)}
    return {name: value for name, value in found.items() if value is not None}


def _block(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.MaxPool2d(2)
    )
