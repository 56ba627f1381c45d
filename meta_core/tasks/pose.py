"""How far is this object turned? Pictures of solids and their angles, in the way of Yin et al. 2020, 6.2."""

import math

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from meta_core.episode import Episode, QuerySet, SupportSet
from meta_core.errors import InvalidRecipe
from meta_core.preprocess import InputSpec, normalize
from meta_core.solids import random_solid, render
from meta_core.vectors import AnySpec

_PARTS = {"training": 0, "validation": 1, "test": 2}


class PoseOptions(BaseModel):
    """How objects are made and tasks are drawn; numbers of objects and views are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shots: tuple[int, int] = Field(default=(15, 15), description="examples of a task, inclusive; equal in a meta-batch")
    queries: int = Field(default=15, ge=1)
    objects: int = Field(default=50, ge=1, description="to train on")
    held_out: int = Field(default=15, ge=1, description="to validate on, and as many others to test on")
    views: int = Field(default=100, ge=2, description="of an object, each turned at random")
    most_degrees: float = Field(default=90, gt=0, le=180, description="that an object is turned, either way")
    seed: int = Field(default=0, description="of the objects")

    @field_validator("shots")
    @classmethod
    def _is_range(cls, bounds: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= bounds[0] <= bounds[1]:
            raise ValueError(f"{bounds} is not [smallest, largest] of at least 1")
        return bounds


class Poses:
    """A `TaskSource`: a task is an object, its inputs are views, its targets the angles from how it canonically stands.

    Objects are of one kind: where an object points can be seen. How it canonically stands has nothing to do with its
    looks, so that no picture tells the angle unless the object is known: from training, by heart, or from the task's
    examples. A training object that is known by heart needs no examples, and another one is answered wrongly. Of n
    objects one canonically points to somewhere in each n-th of the circle, so that few leave no gap.

    Differs from the paper: solids of our own, turned by at most a quarter circle either way and not by the whole of it,
    at whose end the target jumps; angles in radians, not tenths of a turn.

    Args:
        spec: of the pictures.
        options: how objects are made and tasks are drawn.
        part: whose objects.
        device: where the views are kept.
    """

    def __init__(self, *, spec: InputSpec, options: PoseOptions, part: str, device: str = "cpu") -> None:
        self.options, self.spec = options, spec
        count = options.objects if part == "training" else options.held_out
        generator = torch.Generator().manual_seed(3 * options.seed + _PARTS[part])
        most = math.radians(options.most_degrees)
        points = 2 * math.pi * (torch.arange(count) + torch.rand(count, generator=generator)) / count
        views, angles = [], []
        for point in points.tolist():
            turns = most * (2 * torch.rand(options.views, generator=generator) - 1)
            solid = random_solid(generator, points=point)
            views.append((255 * render(solid, turns, side=spec.height)).to(torch.uint8))
            angles.append(turns)
        self.views = torch.stack(views)[:, :, None].to(device)  # (objects, views, 1, H, W)
        self.angles = torch.stack(angles)[..., None].to(device)  # (objects, views, 1)

    def sample(self, n_tasks: int, generator: torch.Generator) -> Episode:
        """(T, S, 1, H, W) and (T, Q, 1, H, W) pictures, angles (T, S, 1) and (T, Q, 1), radians."""
        shots = int(torch.randint(self.options.shots[0], self.options.shots[1] + 1, (), generator=generator))
        objects = torch.randint(len(self.views), (n_tasks, 1), generator=generator)
        orders = torch.rand(n_tasks, self.options.views, generator=generator).argsort(1)
        chosen = orders[:, : shots + self.options.queries]
        pictures, angles = self.views[objects, chosen], self.angles[objects, chosen]
        inputs = normalize(pictures.flatten(0, 1), self.spec).view(pictures.shape)
        weights = torch.ones(n_tasks, shots, device=inputs.device)
        return Episode(
            SupportSet(inputs[:, :shots], angles[:, :shots], weights), QuerySet(inputs[:, shots:], angles[:, shots:])
        )


def build(*, spec: AnySpec, part: str, device: str = "cpu", **options: object) -> Poses:
    """Poses of the objects of one part; `options` are the fields of `PoseOptions`."""
    if not isinstance(spec, InputSpec) or spec.channels != 1 or spec.height != spec.width:
        raise InvalidRecipe("poses are square grey pictures; give the recipe's [input] channels = 1 and equal sides")
    asked = PoseOptions.model_validate(options)
    if asked.shots[1] + asked.queries > asked.views:
        raise InvalidRecipe(
            f"{asked.shots[1]} examples and {asked.queries} queries are more than an object's {asked.views} views"
        )
    return Poses(spec=spec, options=asked, part=part, device=device)
