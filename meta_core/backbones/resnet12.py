"""ResNet-12 as few-shot learning uses it (Oreshkin et al. 2018, TADAM; Lee et al. 2019, MetaOptNet)."""

from torch import Tensor, nn


def build(*, input_shape: tuple[int, int, int], width: int = 64, dropout: float = 0.1) -> nn.Sequential:
    """Four residual blocks and global average pooling: (N, *input_shape) → (N, 10 · width).

    Differs from MetaOptNet: channel dropout in place of DropBlock, one rate in all blocks.

    Args:
        input_shape: channels, height, width of a picture; at least 16 px a side.
        width: filters of the first block; the others have 2.5, 5 and 10 times as many (64, 160, 320, 640).
        dropout: probability that a channel is dropped after each block, in training.
    """
    channels = [input_shape[0], width, 5 * width // 2, 5 * width, 10 * width]
    blocks = [_Block(channels[i], channels[i + 1], dropout=dropout) for i in range(4)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class _Block(nn.Module):
    """Three 3×3 convolutions beside a 1×1 shortcut, then leaky ReLU, 2×2 max pooling and dropout."""

    def __init__(self, inputs: int, outputs: int, *, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv_norm(inputs, outputs, 3),
            nn.LeakyReLU(0.1),
            *_conv_norm(outputs, outputs, 3),
            nn.LeakyReLU(0.1),
            *_conv_norm(outputs, outputs, 3),
        )
        self.shortcut = nn.Sequential(*_conv_norm(inputs, outputs, 1))
        self.tail = nn.Sequential(nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.Dropout2d(dropout))

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, H // 2, W // 2)."""
        outputs: Tensor = self.tail(self.body(inputs) + self.shortcut(inputs))
        return outputs


def _conv_norm(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs)]
