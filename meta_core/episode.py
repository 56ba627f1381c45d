"""The field's nouns as types: a task's support and query set, the episode they form, the state a learner adapts to.

Axes stand in this order everywhere: T tasks, N examples, S support, Q query, C ways, D features.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

State: TypeAlias = dict[str, Tensor]
"""One task's adapted state: stored as safetensors as it is, batched by stacking."""


class SupportSet(NamedTuple):
    """The labelled examples a learner adapts to.

    Targets are one-hot, not class numbers, so that class means, ridge, cross-entropy and regression are the same
    algebra, and the number of ways is a shape.
    """

    inputs: Tensor
    """(S, *input) before `encode`, (S, *features) after."""
    targets: Tensor
    """(S, C) one-hot for classification, real values for regression."""
    weights: Tensor
    """(S,) 1 for an example, 0 for padding."""


class QuerySet(NamedTuple):
    """The examples a task is judged by."""

    inputs: Tensor
    """(Q, *input) before `encode`, (Q, *features) after."""
    targets: Tensor
    """(Q, C)"""


class Episode(NamedTuple):
    """One task's support and query set; a leading T axis on every tensor makes it a meta-batch."""

    support: SupportSet
    query: QuerySet


class TaskSource(Protocol):
    """Anything that makes tasks out of data."""

    def sample(self, n_tasks: int, generator: torch.Generator) -> Episode:
        """A meta-batch: an `Episode` whose tensors have a leading axis of `n_tasks`."""
        ...


def tasks_of(episode: Episode) -> Iterator[Episode]:
    """The tasks of a meta-batch, one by one."""
    for task in range(len(episode.support.weights)):
        yield Episode(
            SupportSet(*(tensor[task] for tensor in episode.support)),
            QuerySet(*(tensor[task] for tensor in episode.query)),
        )


def batch_of_one(episode: Episode) -> Episode:
    """A single task as a meta-batch."""
    return Episode(
        SupportSet(*(tensor[None] for tensor in episode.support)),
        QuerySet(*(tensor[None] for tensor in episode.query)),
    )
