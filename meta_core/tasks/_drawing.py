"""What task sources over pictures share: ranges of ways and shots, and an episode out of classes in rows."""

from typing import Annotated, TypeAlias

import torch
from pydantic import AfterValidator
from torch import Tensor

from meta_core.episode import Episode, QuerySet, SupportSet


def _check(bounds: tuple[int, int], least: int) -> tuple[int, int]:
    if not least <= bounds[0] <= bounds[1]:
        raise ValueError(f"{bounds} is not [smallest, largest] with a smallest of at least {least}")
    return bounds


Ways: TypeAlias = Annotated[tuple[int, int], AfterValidator(lambda bounds: _check(bounds, 2))]
Shots: TypeAlias = Annotated[tuple[int, int], AfterValidator(lambda bounds: _check(bounds, 1))]


def draw_from(bounds: tuple[int, int], generator: torch.Generator) -> int:
    """A number of an inclusive range."""
    return int(torch.randint(bounds[0], bounds[1] + 1, (), generator=generator))


def episode_of(inputs: Tensor, *, shots: int) -> Episode:
    """(T, C, K + Q', *input) → an episode whose support holds the first K of each class."""
    tasks, ways, count = inputs.shape[:3]
    support, query = inputs[:, :, :shots].flatten(1, 2), inputs[:, :, shots:].flatten(1, 2)
    one_hot = torch.eye(ways, device=inputs.device)
    return Episode(
        SupportSet(
            inputs=support,
            targets=one_hot.repeat_interleave(shots, dim=0).expand(tasks, -1, -1),
            weights=torch.ones(tasks, ways * shots, device=inputs.device),
        ),
        QuerySet(inputs=query, targets=one_hot.repeat_interleave(count - shots, dim=0).expand(tasks, -1, -1)),
    )
