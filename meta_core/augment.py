"""Random changes to a batch of pictures in training, on the device they are on."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class Augmentation(BaseModel):
    """How far a picture may be moved; each amount is drawn uniformly within ± its value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotate_degrees: float = Field(default=0, ge=0, le=180)
    scale: float = Field(default=0, ge=0, le=1, description="of the logarithm: 0.2 is 82 % to 122 %")
    stretch: float = Field(default=0, ge=0, le=1, description="of the logarithm of width over height")
    shear: float = Field(default=0, ge=0, le=1)
    shift: float = Field(default=0, ge=0, le=1, description="of half the picture")

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return any(self.model_dump().values())


def augment(pictures: Tensor, augmentation: Augmentation, *, generator: torch.Generator) -> Tensor:
    """A random affine map of each picture: (N, channels, H, W) → the same shape; what comes in from outside is 0."""
    if not augmentation.active:
        return pictures
    maps = _affine_maps(len(pictures), augmentation, generator=generator).to(pictures)
    grid = F.affine_grid(maps, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False)


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
