"""A trial: a short training whose looks at the validation episodes are told one by one."""

import math
import time
from collections.abc import Iterator

from meta_core.episode import TaskSource
from meta_core.learner import Learner
from meta_core.loop import plan_run, step, task_workers, validate
from meta_core.parallel import Workers
from meta_core.pictures import Pictures
from meta_core.processes import Team
from meta_core.recipe import Recipe
from meta_core.registry import TASKS
from meta_core.starting import start

LOOKS = 6
"""Validations of a trial, after each of which it may be given up."""


class Bench:
    """The data and the device that all trials share."""

    def __init__(self, recipe: Recipe, training: Pictures, validation: Pictures, device: str) -> None:
        self.recipe, self.validation, self._training, self._device = recipe, validation, training, device
        self._sources: dict[str, TaskSource] = {}

    def source(self, recipe: Recipe) -> TaskSource:
        """Built once for all trials that leave `[tasks]` alone: it may have clustered for minutes."""
        key = recipe.tasks.model_dump_json()
        if key not in self._sources:
            self._sources = {
                key: TASKS.build(
                    recipe.tasks.name,
                    pictures=self._training,
                    spec=recipe.pictures,
                    device=self._device,
                    **recipe.tasks.options,
                )
            }
        return self._sources[key]

    def looks(self, recipe: Recipe, *, steps: int, looks: int = LOOKS) -> Iterator[tuple[int, float, float]]:
        """Train, and look now and then: the step, the loss, and the validation accuracy in percent."""
        short = _shortened(recipe, steps)
        source, run = self.source(recipe), start(short, self._device)
        with task_workers(run.learner, self._device, team=Team()) as workers:
            plan_run(run, source, short.optimizer, workers, device=self._device, team=Team())
            every = max(1, math.ceil(steps / looks))
            while run.step < steps:
                loss = step(run, source, short.optimizer, workers)
                if run.step % every == 0 or run.step == steps:
                    yield run.step, loss, self._accuracy(run.learner.eval(), workers)

    def _accuracy(self, learner: Learner, workers: Workers | None) -> float:
        return validate(learner, workers, validation=self.validation, recipe=self.recipe)

    def affordable(self, seconds: float) -> int:
        """Steps that a trial may take to end within so many seconds, looks included, by what two short ones take."""
        few, many = 3, 9
        self._seconds(1)  # what is done once: tasks' sources, kernels that are chosen, memory that grows
        short, long = self._seconds(few), self._seconds(many)
        per_step = max((long - short) / (many - few), 1e-4)
        look = max(short - few * per_step, 0)
        return min(self.recipe.optimizer.steps, steps_within(seconds, per_step=per_step, look=look))

    def _seconds(self, steps: int) -> float:
        began = time.monotonic()
        for _ in self.looks(self.recipe, steps=steps, looks=1):
            pass
        return time.monotonic() - began


def steps_within(seconds: float, *, per_step: float, look: float) -> int:
    """Steps that fit beside a trial's looks, of which there is at least one for each look.

    Where looking would take more than half of the time, as many as if it took half: the trial is then late, not blind.

    Args:
        seconds: for the whole trial.
        per_step: seconds that a step takes.
        look: seconds that one look takes.
    """
    return max(LOOKS, int(max(seconds - LOOKS * look, seconds / 2) / per_step))


def _shortened(recipe: Recipe, steps: int) -> Recipe:
    whole = recipe.optimizer
    warmup = round(whole.warmup_steps * steps / whole.steps)
    optimizer = whole.model_copy(update={"steps": steps, "warmup_steps": min(warmup, steps)})
    return recipe.model_copy(update={"optimizer": optimizer})
