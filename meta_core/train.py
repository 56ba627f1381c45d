"""The trainer, top to bottom: recipe → data → learner → loop → test → checkpoint."""

import contextlib
import math
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from meta_core import checkpoint
from meta_core.asking import evaluation_workers, looking_up
from meta_core.card import Accuracy, Card, Training
from meta_core.datasets import read_pictures
from meta_core.device import cores, pick_device
from meta_core.episode import TaskSource
from meta_core.errors import InvalidRecipe, MissingExtra
from meta_core.evaluate import (
    EpisodePlan,
    check_plan,
    episode_accuracy,
    holds_lake_runs,
    lake_accuracy,
)
from meta_core.learner import Learner
from meta_core.meta_step import meta_gradient, plan_chunk
from meta_core.norms import keeps_statistics
from meta_core.parallel import Workers
from meta_core.pictures import Pictures, check_disjoint
from meta_core.plots import training_curve
from meta_core.progress import episodes_bar, say
from meta_core.quick_layers import quicken
from meta_core.recipe import Optimizer, Recipe
from meta_core.registry import TASKS
from meta_core.run import Look, Run, restore_run, save_run
from meta_core.transductive import batch_statistics

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

RESUME = "resume.pt"


def train(
    recipe: Recipe,
    *,
    data: Path,
    out: Path,
    device: str = "auto",
    resume: bool = False,
    models: Path = Path("models"),
) -> Card:
    """Meta-train as the recipe says and write the checkpoint to `out`.

    Beside the checkpoint, `out.run/` gets TensorBoard events and the file that an interrupted run resumes from; on a
    CPU the resumed run ends with the weights of an uninterrupted one, bit for bit.

    Args:
        recipe: what to do.
        data: the labelled pictures, in a format that a reader knows.
        out: the model's folder.
        device: `cpu`, `cuda`, or `auto` for CUDA where there is one.
        resume: go on from `out.run/resume.pt` if it is there.
        models: where the model is that a recipe's `start_from` names.

    Raises:
        InvalidDataset: the pictures cannot be read or are too few.
        OverlappingSplits: training, validation and test share a class or a picture.
        InvalidRecipe: the file to resume from is of another recipe, or is there and `resume` was not asked for.
        InvalidCheckpoint: the model to start from is not there, or its backbone does not fit.
        MissingExtra: the packages of `kshot[train]` are not installed.
    """
    device = pick_device(device)
    training, validation, test = splits(recipe, data)
    source: TaskSource = TASKS.build(
        recipe.tasks.name, pictures=training, spec=recipe.input, device=device, **recipe.tasks.options
    )
    check_plan(validation, _validation_plan(recipe))
    for plan in _test_plans(recipe):
        check_plan(test, plan)

    run, folder = start(recipe, device, models=models), out.with_name(f"{out.name}.run")
    folder.mkdir(parents=True, exist_ok=True)
    with batch_statistics(run.learner) if recipe.transductive else contextlib.nullcontext():
        if (folder / RESUME).is_file():
            if not resume:
                raise InvalidRecipe(
                    f"{folder} holds a run already: go on with --resume, or remove the folder to begin anew"
                )
            restore_run(run, recipe, folder / RESUME)
        _loop(run, recipe, source, validation, folder=folder, device=device)
        learner = run.learner.cpu().to(memory_format=torch.contiguous_format)
        learner.load_state_dict(run.best)
        if recipe.half_weights:
            checkpoint.round_to_half(learner)
        table = test_table(learner.eval(), recipe, test, data)
    return checkpoint.save(
        out,
        learner,
        description=_description(recipe, run, training, table, device),
        extra={"curve.png": training_curve(run.looks, title=recipe.name)},
        half=recipe.half_weights,
    )


def _loop(run: Run, recipe: Recipe, source: TaskSource, validation: Pictures, *, folder: Path, device: str) -> None:
    began, per_step = time.monotonic() - run.seconds, recipe.optimizer.tasks_per_step
    losses: list[float] = []
    with (
        task_workers(run.learner, device) as workers,
        _events(folder, run.step) as events,
        episodes_bar("meta-training") as bar,
    ):
        _plan(run, source, recipe.optimizer, workers)
        while run.step < recipe.optimizer.steps:
            losses.append(step(run, source, recipe.optimizer, workers))
            bar.show(run.step * per_step, of=recipe.optimizer.steps * per_step, note=_note(run, losses[-1]))
            if run.step % recipe.validation.every == 0 or run.step == recipe.optimizer.steps:
                accuracy, loss = validate(run, validation, recipe, workers), statistics.fmean(losses)
                run.looks.append(Look(step=run.step, loss=loss, accuracy=accuracy))
                if accuracy > run.best_accuracy:
                    run.best_accuracy = accuracy
                    run.best = {k: v.detach().cpu().clone() for k, v in run.learner.state_dict().items()}
                events.add_scalar("train/loss", loss, run.step)
                events.add_scalar("validation/accuracy", accuracy, run.step)
                run.seconds = time.monotonic() - began
                save_run(run, recipe, folder / RESUME)
                losses.clear()


def splits(recipe: Recipe, data: Path) -> tuple[Pictures, Pictures, Pictures]:
    """Training, validation and test pictures, which share no class and no picture.

    Raises:
        InvalidDataset: they cannot be read, or hold no such groups.
        OverlappingSplits: they share a class or a picture.
    """
    wanted = recipe.data
    training = read_pictures(data, recipe.input, split=wanted.train_split)
    training = training.where(lambda name, _: name not in wanted.leave_out)
    if wanted.test_groups:
        training, test = training.hold_out(wanted.test_groups)
    else:
        test = read_pictures(data, recipe.input, split=wanted.test_split)
    check_disjoint(training, test)
    if wanted.validation_groups:
        training, validation = training.hold_out(wanted.validation_groups)
    else:
        validation = read_pictures(data, recipe.input, split=wanted.validation_split)
        check_disjoint(validation, test)
    check_disjoint(training, validation)
    return training, validation, test.with_rotations() if recipe.test.rotations else test


def learning_rate(step: int, optimizer: Optimizer) -> float:
    """Linear warm-up, then a cosine to 0 at the last step."""
    if step < optimizer.warmup_steps:
        return optimizer.rate * (step + 1) / optimizer.warmup_steps
    progress = (step - optimizer.warmup_steps) / max(1, optimizer.steps - optimizer.warmup_steps)
    return optimizer.rate * 0.5 * (1 + math.cos(math.pi * progress))


def test_table(learner: Learner, recipe: Recipe, test: Pictures, data: Path) -> list[Accuracy]:
    """The card's accuracies: every ways × shots of the recipe, and Lake's runs where it asks and the data hold them."""
    lookup, plans = looking_up(learner, test.images, recipe.input), _test_plans(recipe)
    total = sum(plan.episodes for plan in plans)
    with evaluation_workers(learner) as workers, episodes_bar("testing", total=total) as bar:
        rows = [episode_accuracy(learner, lookup, test, plan, workers=workers, advance=bar.advance) for plan in plans]
    rows = [row.model_copy(update={"inductive": not recipe.transductive}) for row in rows]
    if recipe.test.lake and holds_lake_runs(data):
        rows.append(lake_accuracy(learner, recipe.input, data))
    return rows


def start(recipe: Recipe, device: str, *, models: Path = Path("models")) -> Run:
    """A run at step 0.

    Raises:
        InvalidCheckpoint: the model to start from is not there, or its backbone does not fit.
        InvalidWeights: the pretrained weights cannot be had, or are another network's.
    """
    torch.manual_seed(recipe.seed)  # torch's layers draw their first weights, and dropout, from the global generator
    learner = checkpoint.build_learner(recipe.learner, recipe.backbone, recipe.input)
    origin = _first_weights(learner, recipe, models)
    learner.backbone.requires_grad_(not recipe.freeze_backbone)
    learner = learner.to(device)
    quick = not learner.encodes and device == "cpu" and recipe.optimizer.precision == "fp32"
    if quick:
        quicken(learner.backbone)
    if learner.encodes or quick:  # in bf16 the few pictures of one task are faster as they are
        learner = learner.to(memory_format=torch.channels_last)
    named = {name: parameter for name, parameter in learner.named_parameters() if parameter.requires_grad}
    weights = [weight for name, weight in named.items() if not name.startswith("rates.")]
    rates = [
        rate for name, rate in named.items() if name.startswith("rates.")
    ]  # decay would pull them to no adaptation
    groups: list[dict[str, Any]] = [{"params": weights}, *([{"params": rates, "weight_decay": 0.0}] if rates else [])]
    optimizer = torch.optim.AdamW(groups, lr=recipe.optimizer.rate, weight_decay=recipe.optimizer.weight_decay)
    generator = torch.Generator().manual_seed(recipe.seed)
    return Run(learner=learner, optimizer=optimizer, generator=generator, origin=origin)


def _first_weights(learner: Learner, recipe: Recipe, models: Path) -> str | None:
    """Give the backbone the weights that the recipe starts with; whose they are, in words."""
    if recipe.start_from is not None:
        return checkpoint.take_backbone(learner, models / recipe.start_from).origin
    if recipe.pretrained is None:
        return None
    from meta_core.pretrained import take_pretrained  # timm takes seconds to import, and most recipes need none

    return take_pretrained(learner.backbone, recipe.pretrained, input_shape=recipe.input.shape).text


def step(run: Run, source: TaskSource, settings: Optimizer, workers: Workers | None = None) -> float:
    """One meta-batch: encode the tasks in one forward, each task's meta-loss, backward, step."""
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(run.step, settings)
    loss = meta_gradient(
        _training(run.learner),
        source.sample(settings.tasks_per_step, run.generator),
        chunk=run.chunk or settings.tasks_per_step,
        precision=settings.precision,
        generator=run.generator,
        progress=run.step / settings.steps,
        workers=workers,
    )
    if settings.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(run.learner.parameters(), settings.clip_norm)
    run.optimizer.step()
    run.step += 1
    return loss


def _training(learner: Learner) -> Learner:
    """In training mode, but for a frozen backbone, whose batch norms keep the statistics they were trained with."""
    learner.train()
    if not any(parameter.requires_grad for parameter in learner.backbone.parameters()):
        learner.backbone.eval()
    return learner


@contextlib.contextmanager
def task_workers(learner: Learner, device: str) -> Iterator[Workers | None]:
    """A thread a core for learners whose tasks go one by one on a CPU; nothing for the others."""
    if device != "cpu" or not learner.loops_on_cpu or keeps_statistics(_training(learner)):
        yield None
        return
    workers = Workers(learner, count=cores())
    try:
        yield workers
    finally:
        workers.close()


def _plan(run: Run, source: TaskSource, settings: Optimizer, workers: Workers | None) -> None:
    """Choose the chunk, once for all of a run's parts, and say what a step will take before the first."""
    episode = source.sample(settings.tasks_per_step, torch.Generator().manual_seed(0))
    plan = plan_chunk(_training(run.learner), episode, precision=settings.precision, workers=workers)
    run.chunk = run.chunk or plan.tasks
    say(plan._replace(tasks=run.chunk).describe(of=settings.tasks_per_step))


def validate(run: Run, validation: Pictures, recipe: Recipe, workers: Workers | None = None) -> float:
    """Accuracy on the fixed validation episodes, percent."""
    learner = run.learner.eval()
    lookup = looking_up(learner, validation.images, recipe.input)
    return episode_accuracy(learner, lookup, validation, _validation_plan(recipe), workers=workers).accuracy


def _validation_plan(recipe: Recipe) -> EpisodePlan:
    asked = recipe.validation
    return EpisodePlan(ways=asked.ways, shots=asked.shots, queries=asked.queries, episodes=asked.episodes, seed=1)


def _test_plans(recipe: Recipe) -> list[EpisodePlan]:
    asked = recipe.test
    return [
        EpisodePlan(ways=ways, shots=shots, queries=asked.queries, episodes=asked.episodes)
        for ways in asked.ways
        for shots in asked.shots
    ]


def _description(recipe: Recipe, run: Run, training: Pictures, table: list[Accuracy], device: str) -> dict[str, Any]:
    source = Training(
        recipe=recipe.name,
        data=training.source,
        data_licence=recipe.data.licence or training.licence,
        steps=recipe.optimizer.steps,
        tasks_per_step=recipe.optimizer.tasks_per_step,
        seed=recipe.seed,
        validation_accuracy=run.best_accuracy,
        seconds=run.seconds,
        device=device,
        torch=torch.__version__,
    )
    shared = recipe.model_dump(include={"name", "version", "description", "licence", "learner", "backbone", "input"})
    return {**shared, "accuracy": table, "origin": run.origin, "training": source}


def _note(run: Run, loss: float) -> str:
    best = f" · best validation {run.best_accuracy:.2f} %" if run.looks else ""
    return f"loss {loss:.3f}{best}"


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
