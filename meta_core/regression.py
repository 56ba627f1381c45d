"""Regression on generated tasks: the squared error after so many examples and steps, with its confidence interval."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from meta_core.batching import adapt_many, encode_episode, predict_many
from meta_core.card import Part, SquaredError
from meta_core.episode import Episode, TaskSource, tasks_of
from meta_core.intervals import mean_ci95
from meta_core.learner import AdaptOptions, Learner
from meta_core.objectives import squared_error
from meta_core.parallel import Workers
from meta_core.registry import TASKS
from meta_core.vectors import AnySpec

PartName = Literal["training", "validation", "test"]
"""Parts of what a source can generate, which share nothing that a learner could know by heart."""

_BATCH = 50
_STEPS = (0, 1, 10)


def generated(tasks: Part, spec: AnySpec, part: PartName, **changes: Any) -> TaskSource:
    """A source of generated tasks.

    Args:
        tasks: name and options of a source that needs no data.
        spec: of the learner's input.
        part: of what it can generate.
        changes: options in place of its own.

    Raises:
        UnknownName: there is no such source, or it does not take an option.
    """
    source: TaskSource = TASKS.build(tasks.name, spec=spec, part=part, **(tasks.options | changes))
    return source


def telling_steps(learner: Learner) -> list[int | None]:
    """No step, one, as many as in training, and ten; or None alone for a learner that takes no steps."""
    if "steps" not in learner.limits:
        return [None]
    return [*sorted({*_STEPS, int(getattr(learner, "steps", _STEPS[-1]))})]


def measured_errors(
    learner: Learner,
    tasks: Part,
    spec: AnySpec,
    *,
    shots: Sequence[int],
    steps: Sequence[int | None],
    rate: float | None = None,
    queries: int,
    episodes: int,
    seed: int = 0,
    part: PartName = "test",
    workers: Workers | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> list[SquaredError]:
    """A row for each number of examples and of steps; all steps are measured on the same tasks.

    Args:
        learner: in `eval` mode.
        tasks: source of generated tasks.
        spec: of the learner's input.
        shots: examples of a task.
        steps: of adaptation; None for the learner's own.
        rate: factor on its own rates of adaptation.
        queries: of a task.
        episodes: tasks a row.
        seed: the same seed asks the same of every learner.
        part: of what the source can generate.
        workers: as for `adapt_many`.
        advance: told how many tasks were just finished.
    """
    rows = []
    for shot, step in itertools.product(shots, steps):
        found = []
        for episode in _episodes(tasks, spec, part, shots=shot, queries=queries, episodes=episodes, seed=seed):
            found.append(task_errors(learner, episode, options=AdaptOptions(steps=step, rate=rate), workers=workers))
            advance(len(found[-1]))
        mean, half = (percent / 100 for percent in mean_ci95(torch.cat(found)))
        asked = {"data": tasks.name, "shots": shot, "queries": queries, "steps": step, "episodes": episodes}
        rows.append(SquaredError.model_validate(asked | {"error": mean, "ci95": half, "seed": seed}))
    return rows


@torch.no_grad()
def task_errors(learner: Learner, episode: Episode, *, options: AdaptOptions, workers: Workers | None = None) -> Tensor:
    """The mean squared error of each task's queries, (T,), on the CPU."""
    tasks = list(tasks_of(encode_episode(learner, episode)))
    states = adapt_many(learner, [task.support for task in tasks], options=options, workers=workers)
    outputs = predict_many(learner, states, [task.query.inputs for task in tasks], workers=workers)
    return torch.stack([squared_error(own, task.query.targets).cpu() for own, task in zip(outputs, tasks, strict=True)])


def spread(answers: Tensor, without: Tensor, residuals: Tensor) -> Tensor:
    """How far off an answer may be: the root mean square about it of what the jackknife+ takes for possible.

    With each of some examples left out in turn, a query is answered otherwise, and the example left out is missed by a
    residual; the answer without it, give or take that residual, is what Barber, Candès, Ramdas & Tibshirani 2021 form
    an interval of. Differs from there: the second moment instead of quantiles, which a handful of examples has not.

    Args:
        answers: (Q,) with all examples.
        without: (L, Q) with each of L examples left out.
        residuals: (L,) of the answer to the example that was left out.

    Returns:
        (Q,), of the answers' unit.
    """
    return ((without - answers).square() + residuals.square()[:, None]).mean(0).sqrt()


def _episodes(
    tasks: Part, spec: AnySpec, part: PartName, *, shots: int, queries: int, episodes: int, seed: int
) -> Iterator[Episode]:
    source = generated(tasks, spec, part, shots=(shots, shots), queries=queries)
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, episodes, _BATCH):
        yield source.sample(min(_BATCH, episodes - start), generator)
