"""Does a regression go by the examples, or does it know its tasks by heart (Yin et al. 2020, section 3)?"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from meta_core.card import Part
from meta_core.episode import SupportSet
from meta_core.learner import AdaptOptions, Learner
from meta_core.parallel import Workers
from meta_core.regression import generated, task_errors
from meta_core.vectors import AnySpec

CHECKED_TASKS = 50


@dataclass(frozen=True)
class TaskMemorizationCheck:
    """What becomes of the answers to tasks of meta-training where each is shown another one's examples.

    A model that goes by its examples then misses the task that it is asked about, by as much as whoever answers the
    mean or by more. One that knows its tasks by heart recognizes the task by the queries, and stays right.

    Attributes:
        own: mean squared error with a task's own examples.
        exchanged: that with another task's.
        mean: that of answering the mean of all targets.
    """

    own: float
    exchanged: float
    mean: float

    @property
    def memorizes(self) -> bool:
        """Whether another task's examples leave it nearer to right than to the mean."""
        return self.exchanged < self.mean / 2

    @property
    def text(self) -> str:
        """The finding in words."""
        errors = (
            f"tasks of training are missed by {self.own:.4g} with their own examples and by {self.exchanged:.4g} with "
            f"another's (squared; {self.mean:.4g} if the mean were answered)"
        )
        if not self.memorizes:
            return f"memorization check: {errors}: the tasks are not known by heart"
        return (
            f"memorization check: {errors}: the model goes by what it learned by heart, not by its examples. "
            "Meta-train it on more tasks, with a larger inner rate, or with the learner mr_maml or mr_cnp"
        )


def check_task_memorization(
    learner: Learner,
    tasks: Part,
    spec: AnySpec,
    *,
    shots: int,
    queries: int,
    seed: int,
    options: AdaptOptions,
    workers: Workers | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> TaskMemorizationCheck:
    """Ask tasks of training twice, the second time each with the examples of the one before it.

    Args:
        learner: in `eval` mode.
        tasks: name and options of the source that it was meta-trained on.
        spec: of its input.
        shots: examples of a task.
        queries: of a task.
        seed: of the tasks that are drawn, `CHECKED_TASKS` of them.
        options: of adaptation.
        workers: as for `adapt_many`.
        advance: told how many tasks were just asked, twice `CHECKED_TASKS` in all.
    """
    source = generated(tasks, spec, "training", shots=(shots, shots), queries=queries)
    asked = source.sample(CHECKED_TASKS, torch.Generator().manual_seed(seed))
    exchanged = asked._replace(support=SupportSet(*(tensor.roll(1, 0) for tensor in asked.support)))
    errors = []
    for episode in (asked, exchanged):
        errors.append(float(task_errors(learner, episode, options=options, workers=workers).mean()))
        advance(CHECKED_TASKS)
    mean = float(asked.query.targets.var(correction=0))
    return TaskMemorizationCheck(own=errors[0], exchanged=errors[1], mean=mean)
