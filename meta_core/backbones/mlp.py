"""Fully connected layers with ReLU between them, as Finn et al. 2017 have them for the sinusoid (two of 40 units)."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def build(*, input_shape: tuple[int, ...], hidden: Sequence[int] = (40, 40), outputs: int = 1) -> nn.Sequential:
    """(N, *input_shape) → (N, outputs).

    Differs from the paper: weights and biases start as torch's layers start them, not near zero.

    Args:
        input_shape: of one input; anything but a vector is flattened.
        hidden: units of each layer but the last.
        outputs: numbers that the last layer, which has no ReLU, gives.
    """
    sizes = [math.prod(input_shape), *hidden]
    layers: list[nn.Module] = [] if len(input_shape) == 1 else [nn.Flatten()]
    for inputs, units in pairwise(sizes):
        layers += [nn.Linear(inputs, units), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))
