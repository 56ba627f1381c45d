"""The loop: sample → each task's meta-loss → backward, step; every few steps a look, which can be resumed from."""

import contextlib
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch

from meta_core.asking import looking_up
from meta_core.device import cores
from meta_core.episode import TaskSource
from meta_core.errors import MissingExtra
from meta_core.evaluate import EpisodePlan, episode_accuracy
from meta_core.learner import Learner
from meta_core.meta_step import chunk_of, meta_gradient, plan_chunk
from meta_core.norms import keeps_statistics
from meta_core.parallel import Workers
from meta_core.pictures import Pictures
from meta_core.processes import Team
from meta_core.progress import episodes_bar, say
from meta_core.recipe import Optimizer, Recipe
from meta_core.run import Look, Run, save_run

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

RESUME = "resume.pt"


Looking: TypeAlias = Callable[[Learner, Workers | None], float]
"""The score of a learner in `eval` mode on the validation episodes."""


def loop(run: Run, recipe: Recipe, source: TaskSource, look: Looking, *, folder: Path, device: str, team: Team) -> None:
    """Train from where `run` is to the recipe's last step; the first process of the team looks, logs and saves.

    Args:
        run: the same in every process.
        recipe: what to do.
        source: of tasks.
        look: at the validation episodes.
        folder: of the events and of the file to resume from.
        device: of this process.
        team: the processes of this run.
    """
    began, per_step = time.monotonic() - run.seconds, recipe.optimizer.tasks_per_step
    losses: list[float] = []
    with (
        task_workers(run.learner, device, team=team) as workers,
        _events(folder, run.step) if team.leads else contextlib.nullcontext() as events,
        episodes_bar("meta-training", shown=team.leads) as bar,
    ):
        if recipe.optimizer.steps:
            told = plan_run(run, source, recipe.optimizer, workers, device=device, team=team)
            if team.leads:
                say(told)
        elif team.leads:  # nothing to train: a reference point
            _keep_if_best(run, look(run.learner.eval(), workers))
        while run.step < recipe.optimizer.steps:
            losses.append(step(run, source, recipe.optimizer, workers, team=team))
            bar.show(run.step * per_step, of=recipe.optimizer.steps * per_step, note=_note(run, losses[-1]))
            if run.step % recipe.validation.every == 0 or run.step == recipe.optimizer.steps:
                if events is not None:
                    score, loss = look(run.learner.eval(), workers), statistics.fmean(losses)
                    _keep(run, Look(step=run.step, loss=loss, score=score), events)
                    run.seconds = time.monotonic() - began
                    save_run(run, recipe, folder / RESUME)
                losses.clear()


def _keep(run: Run, look: Look, events: "SummaryWriter") -> None:
    """Note a look, and the weights if they are the best so far."""
    run.looks.append(look)
    _keep_if_best(run, look.score)
    events.add_scalar("train/loss", look.loss, look.step)
    events.add_scalar("validation/score", look.score, look.step)


def _keep_if_best(run: Run, score: float) -> None:
    if score > run.best_score:
        run.best_score = score
        run.best = {name: tensor.detach().cpu().clone() for name, tensor in run.learner.state_dict().items()}


def step(
    run: Run, source: TaskSource, settings: Optimizer, workers: Workers | None = None, *, team: Team | None = None
) -> float:
    """One meta-batch: encode the tasks in one forward, each task's meta-loss, backward, step; the mean meta-loss."""
    team = team or Team()
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(run.step, settings)
    learner, tasks = training_mode(run.learner), settings.tasks_per_step
    episode = chunk_of(source.sample(tasks, run.generator), *team.share(tasks))
    with team.joined_statistics(learner):
        loss = meta_gradient(
            learner,
            episode,
            chunk=run.chunk or tasks,
            precision=settings.precision,
            generator=team.noise(run.generator),
            progress=run.step / settings.steps,
            workers=workers,
        )
    loss = team.add_up(learner, loss, tasks=tasks)
    if settings.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(learner.parameters(), settings.clip_norm)
    run.optimizer.step()
    run.step += 1
    return loss


def learning_rate(step: int, optimizer: Optimizer) -> float:
    """Linear warm-up, then a cosine to 0 at the last step."""
    if step < optimizer.warmup_steps:
        return optimizer.rate * (step + 1) / optimizer.warmup_steps
    progress = (step - optimizer.warmup_steps) / max(1, optimizer.steps - optimizer.warmup_steps)
    return optimizer.rate * 0.5 * (1 + math.cos(math.pi * progress))


def training_mode(learner: Learner) -> Learner:
    """In training mode, but for a frozen backbone, whose batch norms keep the statistics they were trained with."""
    learner.train()
    if not any(parameter.requires_grad for parameter in learner.backbone.parameters()):
        learner.backbone.eval()
    return learner


@contextlib.contextmanager
def task_workers(learner: Learner, device: str, *, team: Team) -> Iterator[Workers | None]:
    """A thread a core for learners whose tasks go one by one on a CPU, which a team shares; nothing for the others."""
    if device != "cpu" or not learner.loops_on_cpu or keeps_statistics(training_mode(learner)):
        yield None
        return
    workers = Workers(learner, count=max(1, cores() // team.count))
    try:
        yield workers
    finally:
        workers.close()


def plan_run(
    run: Run, source: TaskSource, settings: Optimizer, workers: Workers | None, *, device: str, team: Team
) -> str:
    """Choose the chunk, once for all of a run's parts; what a step will take, in words, before the first."""
    tasks = settings.tasks_per_step
    episode = chunk_of(source.sample(tasks, torch.Generator().manual_seed(0)), *team.share(tasks))
    learner, sharers = training_mode(run.learner), team.count if device == "cpu" else 1
    plan = plan_chunk(learner, episode, precision=settings.precision, workers=workers, sharers=sharers)
    run.chunk = run.chunk or team.least(plan.tasks)
    own = len(episode.support.weights)
    lines = [plan._replace(tasks=run.chunk).describe(of=own)]
    if team.count > 1:
        seen = f"; batch norm sees {min(own, run.chunk)} together" if keeps_statistics(learner) else ""
        lines.insert(0, f"{team.count} processes share a step's {tasks} tasks, this one works on {own}{seen}")
    return "\n".join(lines)


def validate(learner: Learner, workers: Workers | None, *, validation: Pictures, recipe: Recipe) -> float:
    """Accuracy on the fixed validation episodes, percent."""
    lookup = looking_up(learner, validation.images, recipe.pictures)
    return episode_accuracy(learner, lookup, validation, validation_plan(recipe), workers=workers).accuracy


def validation_plan(recipe: Recipe) -> EpisodePlan:
    """The fixed episodes that choose the weights."""
    asked = recipe.validation
    return EpisodePlan(ways=asked.ways, shots=asked.shots, queries=asked.queries, episodes=asked.episodes, seed=1)


def _note(run: Run, loss: float) -> str:
    if not run.looks:
        return f"loss {loss:.3f}"
    regresses = run.learner.objective == "squared_error"
    best = f"error {-run.best_score:.4f}" if regresses else f"{run.best_score:.2f} %"
    return f"loss {loss:.3f} · best validation {best}"


@contextlib.contextmanager
def _events(folder: Path, step: int) -> "Iterator[SummaryWriter]":
    """TensorBoard events beside the checkpoint; what an interrupted run had logged past `step` is purged."""
    try:
        with warnings.catch_warnings():  # tensorboard's own imports
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtra(f"training logs with {error.name}; install kshot[train]") from error
    writer = SummaryWriter(folder, purge_step=step + 1 if step else None)
    try:
        yield writer
    finally:
        writer.close()
