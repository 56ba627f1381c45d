"""Sine waves of different amplitude and phase: the regression of Finn et al. 2017, 5.1."""

import math

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor

from meta_core.episode import Episode, QuerySet, SupportSet
from meta_core.errors import InvalidRecipe
from meta_core.vectors import AnySpec, VectorSpec, normalized


class SinusoidOptions(BaseModel):
    """How waves and their points are drawn, all uniformly; the defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shots: tuple[int, int] = Field(default=(10, 10), description="examples of a task, inclusive; equal in a meta-batch")
    queries: int = Field(default=10, ge=1)
    amplitude: tuple[float, float] = (0.1, 5.0)
    phase: tuple[float, float] = (0.0, math.pi)
    inputs: tuple[float, float] = (-5.0, 5.0)

    @field_validator("shots", "amplitude", "phase", "inputs")
    @classmethod
    def _is_range(cls, bounds: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        if not bounds[0] <= bounds[1] or (info.field_name == "shots" and bounds[0] < 1):
            raise ValueError(f"{bounds} is not [smallest, largest]{' of at least 1' * (info.field_name == 'shots')}")
        return bounds


class Sinusoids:
    """A `TaskSource`: y = A sin(x − φ), A and φ a task's own."""

    def __init__(self, *, spec: VectorSpec, options: SinusoidOptions, device: str = "cpu") -> None:
        self.spec, self.options, self.device = spec, options, device

    def sample(self, n_tasks: int, generator: torch.Generator) -> Episode:
        """(T, S, 1) and (T, Q, 1) inputs, targets of the same shapes."""
        asked = self.options
        shots = int(torch.randint(asked.shots[0], asked.shots[1] + 1, (), generator=generator))
        amplitudes = _uniform(asked.amplitude, (n_tasks, 1, 1), generator)
        phases = _uniform(asked.phase, (n_tasks, 1, 1), generator)
        points = _uniform(asked.inputs, (n_tasks, shots + asked.queries, 1), generator)
        targets = (amplitudes * torch.sin(points - phases)).to(self.device)
        inputs = normalized(points, self.spec).to(self.device)
        return Episode(
            SupportSet(inputs[:, :shots], targets[:, :shots], torch.ones(n_tasks, shots, device=self.device)),
            QuerySet(inputs[:, shots:], targets[:, shots:]),
        )


def build(*, spec: AnySpec, part: str, device: str = "cpu", **options: object) -> Sinusoids:
    """Waves; `options` are the fields of `SinusoidOptions`. Every part has its own waves of the same kind."""
    del part
    if not isinstance(spec, VectorSpec) or spec.numbers != 1:
        raise InvalidRecipe("sinusoids have one number as input; give the recipe [input] numbers = 1")
    return Sinusoids(spec=spec, options=SinusoidOptions.model_validate(options), device=device)


def _uniform(bounds: tuple[float, float], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * torch.rand(shape, generator=generator)
