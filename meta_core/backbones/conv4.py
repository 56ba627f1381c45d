"""Conv-4: the four-block network of Vinyals et al. 2016, Snell et al. 2017 and Finn et al. 2017."""

import math
from collections.abc import Sequence
from typing import Literal

from torch import nn


def build(
    *,
    input_shape: tuple[int, int, int],
    width: int = 64,
    pools: int = 4,
    down: Literal["pool", "stride"] = "pool",
    norm: Literal["batch", "group"] = "batch",
    hidden: Sequence[int] = (),
    outputs: int | None = None,
) -> nn.Sequential:
    """Four blocks of 3×3 convolution, norm, ReLU, each halving its input: (N, *input_shape) → (N, D).

    Differs from the papers: with `pools=3` the last block does not halve, which keeps where a stroke is; at 28 px and
    pooled that makes D = 9 · width instead of width for no further arithmetic. Pooling stands before the ReLU, which
    gives the same numbers for a quarter of its work.

    Args:
        input_shape: channels, height, width of a picture.
        width: filters of each block.
        pools: how many of the four blocks, from the first, halve.
        down: by 2×2 max pooling (Snell et al. 2017), or by a stride of 2, a quarter of the arithmetic, as Finn et al.
            2017 have it for Omniglot.
        norm: `batch`, or `group`: each example by itself, in groups of eight channels (Wu & He 2018), which learners
            that adapt the whole network need.
        hidden: units of fully connected layers behind the blocks, each with a ReLU.
        outputs: D is so many, given by a last linear layer: for learners whose network itself answers.
    """
    channels = [input_shape[0], width, width, width, width]
    blocks = [_block(channels[i], channels[i + 1], down=down if i < pools else None, norm=norm) for i in range(4)]
    layers: list[nn.Module] = [*blocks, nn.Flatten()]
    size = width * math.prod(_halved(side, pools, down=down) for side in input_shape[1:])
    for units in hidden:
        layers += [nn.Linear(size, units), nn.ReLU()]
        size = units
    return nn.Sequential(*layers, *([] if outputs is None else [nn.Linear(size, outputs)]))


def _halved(side: int, times: int, *, down: str) -> int:
    """Pixels that are left of a side: pooling drops an odd one, a stride keeps it."""
    for _ in range(times):
        side = (side + 1) // 2 if down == "stride" else side // 2
    return side


def _block(inputs: int, outputs: int, *, down: str | None, norm: str) -> nn.Sequential:
    # The convolution needs no bias of its own: batch norm subtracts it again, group norm most of it.
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, 3, stride=2 if down == "stride" else 1, padding=1, bias=False),
        nn.BatchNorm2d(outputs) if norm == "batch" else nn.GroupNorm(max(1, outputs // 8), outputs),
    ]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if down == "pool" else []), nn.ReLU())
