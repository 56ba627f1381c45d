"""Random changes to a batch of pictures in training, on the device they are on."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from meta_core.device import to_device


class Augmentation(BaseModel):
    """How far a picture may be moved and recoloured; each amount is drawn uniformly within ± its value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotate_degrees: float = Field(default=0, ge=0, le=180)
    scale: float = Field(default=0, ge=0, le=1, description="of the logarithm: 0.2 is 82 % to 122 %")
    stretch: float = Field(default=0, ge=0, le=1, description="of the logarithm of width over height")
    shear: float = Field(default=0, ge=0, le=1)
    shift: float = Field(default=0, ge=0, le=1, description="of half the picture")
    flip: float = Field(default=0, ge=0, le=1, description="probability of swapping left and right")
    crop: float = Field(
        default=0,
        ge=0,
        le=0.95,
        description="share of the area that a crop may leave out, at 3:4 to 4:3, then enlarged",
    )
    warp: float = Field(default=0, ge=0, le=1, description="of half the picture, each corner of a 4×4 grid by itself")
    erase: float = Field(default=0, ge=0, le=1, description="share of the pixels, at most, that are set to 0")
    brightness: float = Field(default=0, ge=0, le=1, description="of a factor around 1; so are the next two")
    contrast: float = Field(default=0, ge=0, le=1)
    saturation: float = Field(default=0, ge=0, le=1)

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return self.moves or self.recolours or self.flip > 0 or self.erase > 0

    @property
    def moves(self) -> bool:
        """Whether pixels have to be interpolated."""
        return any((self.rotate_degrees, self.scale, self.stretch, self.shear, self.shift, self.crop, self.warp))

    @property
    def recolours(self) -> bool:
        """Whether it changes what stays in its place."""
        return any((self.brightness, self.contrast, self.saturation))


def augment(pictures: Tensor, augmentation: Augmentation, *, generator: torch.Generator) -> Tensor:
    """Each picture changed in its own way: (N, channels, H, W) on the scale 0 to 255 → the same shape and scale.

    A crop, then the affine map and the warp, the flip, erased pixels, colours; what comes in from outside is 0.
    """
    if augmentation.moves:
        maps = _affine_maps(len(pictures), augmentation, generator=generator)
        if augmentation.crop:
            maps = _cropped(maps, augmentation.crop, generator=generator)
        grid = F.affine_grid(
            to_device(maps.to(pictures.dtype), pictures.device), list(pictures.shape), align_corners=False
        )
        if augmentation.warp:
            grid = grid + _warps(pictures, augmentation.warp, generator=generator)
        pictures = F.grid_sample(pictures, grid, align_corners=False)
    if augmentation.flip:
        flipped = torch.rand(len(pictures), 1, 1, 1, generator=generator) < augmentation.flip
        pictures = torch.where(to_device(flipped, pictures.device), pictures.flip(-1), pictures)
    if augmentation.erase:
        pictures = _erased(pictures, augmentation.erase, generator=generator)
    return _recoloured(pictures, augmentation, generator=generator) if augmentation.recolours else pictures


def _affine_maps(count: int, amount: Augmentation, *, generator: torch.Generator) -> Tensor:
    """(N, 2, 3): scale and stretch ∘ rotation ∘ shear, then a shift."""
    angle, scale, stretch, shear, right, down = torch.rand(6, count, generator=generator) * 2 - 1
    angle = angle * math.radians(amount.rotate_degrees)
    width = torch.exp(scale * amount.scale)
    height = width * torch.exp(stretch * amount.stretch)
    shear = shear * amount.shear
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [
        torch.stack([width * cos, width * (shear * cos - sin), right * amount.shift], dim=1),
        torch.stack([height * sin, height * (shear * sin + cos), down * amount.shift], dim=1),
    ]
    return torch.stack(rows, dim=1)


def _cropped(maps: Tensor, most: float, *, generator: torch.Generator) -> Tensor:
    """(N, 2, 3): what `maps` do within a window of the picture (the random resized crop of Szegedy et al. 2015)."""
    area, ratio, right, down = torch.rand(4, len(maps), generator=generator)
    area = 1 - most * area
    root = torch.exp((ratio - 0.5) * math.log(4 / 3))  # of width over height, which is 3/4 to 4/3
    sides = torch.stack([area.sqrt() * root, area.sqrt() / root], dim=1).clamp(max=1)
    middles = (1 - sides) * (torch.stack([right, down], dim=1) * 2 - 1)
    cropped = maps * sides[:, :, None]
    cropped[:, :, 2] += middles
    return cropped


def _warps(pictures: Tensor, most: float, *, generator: torch.Generator) -> Tensor:
    """(N, H, W, 2): a smooth displacement of every pixel, as between two hands that draw one character."""
    corners = torch.rand(len(pictures), 2, 4, 4, generator=generator).to(pictures.dtype) * 2 - 1
    corners = to_device(corners, pictures.device)
    smooth = F.interpolate(corners * most, size=pictures.shape[-2:], mode="bicubic", align_corners=True)
    return smooth.permute(0, 2, 3, 1)


def _erased(pictures: Tensor, most: float, *, generator: torch.Generator) -> Tensor:
    """Single pixels of all channels set to 0, in each picture another share of them (Khodadadeh et al. 2019)."""
    shares = torch.rand(len(pictures), 1, 1, 1, generator=generator) * most
    drawn = torch.rand(len(pictures), 1, *pictures.shape[-2:], generator=generator)
    return pictures * to_device((drawn >= shares).to(pictures.dtype), pictures.device)


def _recoloured(pictures: Tensor, amount: Augmentation, *, generator: torch.Generator) -> Tensor:
    """Brightness, then contrast around the picture's mean, then saturation around its grey."""
    drawn = to_device(torch.rand(3, len(pictures), 1, 1, 1, generator=generator) * 2 - 1, pictures.device)
    drawn = drawn.to(pictures.dtype)
    brightness, contrast, saturation = (
        1 + of * factor
        for of, factor in zip((amount.brightness, amount.contrast, amount.saturation), drawn, strict=True)
    )
    pictures = (pictures * brightness).clamp(0, 255)
    pictures = torch.lerp(_grey(pictures).mean((-2, -1), keepdim=True), pictures, contrast).clamp(0, 255)
    return torch.lerp(_grey(pictures), pictures, saturation).clamp(0, 255)


def _grey(pictures: Tensor) -> Tensor:
    """(N, channels, H, W) → (N, 1, H, W), by the luma weights of ITU-R BT.601."""
    if pictures.shape[1] == 1:
        return pictures
    weights = to_device(torch.tensor([0.299, 0.587, 0.114]), pictures.device).to(pictures.dtype)
    return (pictures * weights[:, None, None]).sum(1, keepdim=True)
