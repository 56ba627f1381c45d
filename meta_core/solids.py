"""Pictures of solids that are made of boxes, turned about the vertical: a ray a pixel, no assets."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_ELEVATION = math.radians(35)
_REACH = 1.05
"""Half of a picture's side, in the solid's own length."""
_LIGHT = torch.tensor([-0.45, -0.55, 0.7])
_AMBIENT = 0.3
_FLOOR = -0.35
"""How high a random solid's body begins."""
_BOXES = 4
"""Of a random solid, beside its body and its tower."""


class Solid(NamedTuple):
    """B boxes, upright but each turned its own way.

    Attributes:
        centres: (B, 3), the third upwards; about 1 is as far as a picture reaches.
        halves: (B, 3) half of each side's length.
        turns: (B,) about the vertical, radians.
        greys: (B,) of their surface, 0 black to 1 white.
    """

    centres: Tensor
    halves: Tensor
    turns: Tensor
    greys: Tensor


def random_solid(generator: torch.Generator, *, points: float = 0.0) -> Solid:
    """A long body, a bright tower at its front, and four boxes on it that no other solid has.

    All are of one kind, as cars are: where its front points in a picture can be seen of a solid never seen before.

    Args:
        generator: of its shape and greys.
        points: where its front points before it is turned, radians counter-clockwise from the right.
    """

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    body = torch.cat([between(0.5, 0.7, 1), between(0.2, 0.35, 1), between(0.08, 0.14, 1)])
    tower = torch.cat([between(0.08, 0.12, 2), between(0.28, 0.36, 1)])
    boxes = torch.cat([between(0.08, 0.2, _BOXES, 2), between(0.05, 0.18, _BOXES, 1)], 1)
    halves = torch.cat([body[None], tower[None], boxes])
    along = torch.cat([torch.zeros(1), body[:1] - tower[:1], between(-0.6, 0.25, _BOXES)])
    across = torch.cat([torch.zeros(2), between(-0.3, 0.3, _BOXES)])
    up = _FLOOR + halves[:, 2] + torch.cat([torch.zeros(1), 2 * body[2].expand(1 + _BOXES)])
    greys = torch.cat([between(0.2, 0.7, 1), between(0.9, 1, 1), between(0.15, 0.75, _BOXES)])
    turns = torch.full((len(halves),), points)
    return Solid(_turned(torch.stack([along, across, up], -1), turns), halves, turns, greys)


def render(solid: Solid, angles: Tensor, *, side: int) -> Tensor:
    """Pictures of a solid turned counter-clockwise by each angle, seen from above at 35°, without perspective.

    Args:
        solid: which.
        angles: (N,) radians.
        side: of a picture, pixels.

    Returns:
        (N, side, side), 0 black to 1; where nothing is, 0.
    """
    origins, direction = _rays(side)
    turns = angles[:, None] + solid.turns  # (N, B): of a box, in the picture
    centres = _turned(solid.centres, angles[:, None])  # (N, B, 3)
    start = _turned(origins - centres[:, :, None], -turns[:, :, None])  # (N, B, P, 3), in the box's own frame
    along = _turned(direction, -turns)[:, :, None]  # (N, B, 1, 3)
    near, far = (-solid.halves[:, None] - start) / along, (solid.halves[:, None] - start) / along
    entry, axis = torch.minimum(near, far).max(-1)  # where a ray has entered all three slabs, and through which face
    hit = torch.maximum(near, far).amin(-1) > entry
    depth, box = torch.where(hit, entry, torch.inf).min(1)  # (N, P)
    light = _turned(_LIGHT / _LIGHT.norm(), -turns)  # (N, B, 3)
    facing = (-along.sign() * light[:, :, None]).expand_as(start).gather(-1, axis[..., None])[..., 0]
    shade = solid.greys[:, None] * (_AMBIENT + (1 - _AMBIENT) * facing.clamp_min(0))
    seen = shade.gather(1, box[:, None])[:, 0]
    return torch.where(depth.isfinite(), seen, 0).view(-1, side, side)


def _rays(side: int) -> tuple[Tensor, Tensor]:
    """Where each pixel's ray starts, (side², 3), row by row from the top, and the direction of all, (3,)."""
    across = torch.linspace(-_REACH, _REACH, side)
    rows, columns = torch.meshgrid(-across, across, indexing="ij")
    up = torch.tensor([0.0, math.sin(_ELEVATION), math.cos(_ELEVATION)])
    direction = torch.tensor([0.0, math.cos(_ELEVATION), -math.sin(_ELEVATION)])
    # None of a ray's components may be 0, or it would never enter a slab: a hair's breadth to the side.
    direction = direction + torch.tensor([1e-4, 0.0, 0.0])
    starts = columns[..., None] * torch.tensor([1.0, 0.0, 0.0]) + rows[..., None] * up - 4 * direction
    return starts.flatten(0, 1), direction


def _turned(vectors: Tensor, angles: Tensor) -> Tensor:
    """Vectors (…, 3) turned about the vertical by angles (…)."""
    cosine, sine = angles.cos(), angles.sin()
    x, y, z = vectors.unbind(-1)
    x, y = cosine * x - sine * y, sine * x + cosine * y
    return torch.stack([x, y, z.expand_as(x)], -1)
