"""Conv-4: the four-block network of Vinyals et al. 2016 and Snell et al. 2017."""

from torch import nn


def build(*, input_shape: tuple[int, int, int], width: int = 64, pools: int = 4) -> nn.Sequential:
    """Four blocks of 3×3 convolution, batch norm, ReLU and 2×2 max pooling: (N, *input_shape) → (N, D).

    Differs from the papers: with `pools=3` the last block is not pooled, which keeps where a stroke is; at 28 px
    that makes D = 9 · width instead of width for no further arithmetic.

    Args:
        input_shape: channels, height, width of a picture.
        width: filters of each block.
        pools: how many of the four blocks, from the first, are pooled.
    """
    channels = [input_shape[0], width, width, width, width]
    blocks = [_block(channels[i], channels[i + 1], pooled=i < pools) for i in range(4)]
    return nn.Sequential(*blocks, nn.Flatten())


def _block(inputs: int, outputs: int, *, pooled: bool) -> nn.Sequential:
    # The convolution needs no bias of its own: batch norm subtracts it again.
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pooled else []))
