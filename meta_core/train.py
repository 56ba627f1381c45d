"""The trainer, top to bottom: recipe → data → learner → loop → test → checkpoint."""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from meta_core import checkpoint
from meta_core.asking import evaluation_workers, looking_up
from meta_core.card import Accuracy, Card, Training
from meta_core.device import pick_device
from meta_core.episode import TaskSource
from meta_core.errors import InvalidRecipe
from meta_core.evaluate import EpisodePlan, check_plan, episode_accuracy, holds_lake_runs, lake_accuracy
from meta_core.learner import Learner
from meta_core.loop import RESUME, loop, validate, validation_plan
from meta_core.pictures import Pictures
from meta_core.plots import training_curve
from meta_core.processes import Team, check_devices, launch
from meta_core.progress import episodes_bar
from meta_core.recipe import Recipe
from meta_core.registry import TASKS
from meta_core.run import Run, restore_run
from meta_core.splits import Splits, splits
from meta_core.starting import start
from meta_core.transductive import batch_statistics


def train(
    recipe: Recipe,
    *,
    data: Path | None,
    out: Path,
    unlabelled: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    resume: bool = False,
    models: Path = Path("models"),
) -> Card:
    """Meta-train as the recipe says and write the checkpoint to `out`.

    Beside the checkpoint, `out.run/` gets TensorBoard events and the file that an interrupted run resumes from; on a
    CPU the resumed run ends with the weights of an uninterrupted one, bit for bit. On several devices the weights are
    those of one to rounding, but for what is drawn within the network (dropout), and for batch norm, which sees the
    tasks of one process together; a run may go on with another number of devices.

    Args:
        recipe: what to do.
        data: the labelled pictures, in a format that a reader knows.
        out: the model's folder.
        unlabelled: a folder or zip of pictures to train on without labels; `data` then only tests, where it is given.
        device: `cpu`, `cuda`, or `auto` for CUDA where there is one.
        devices: GPUs, or processes on the CPU, that share the tasks of each step.
        resume: go on from `out.run/resume.pt` if it is there.
        models: where the model is that a recipe's `start_from` names.

    Raises:
        InvalidDataset: the pictures cannot be read or are too few.
        OverlappingSplits: training, validation and test share a class or a picture.
        InvalidRecipe: the file to resume from is of another recipe, or is there and `resume` was not asked for.
        InvalidDevices: there are fewer devices, or a step has fewer tasks.
        InvalidCheckpoint: the model to start from is not there, or its backbone does not fit.
        MissingExtra: the packages of `kshot[train]` are not installed.
        ProcessLost: one of several processes died.
    """
    device = pick_device(device)
    check_devices(devices, device=device, tasks=recipe.optimizer.tasks_per_step)
    read = partial(splits, recipe, data, unlabelled=unlabelled)
    part = partial(_train, recipe, read=read, data=data, out=out, resume=resume, models=models)
    if devices == 1:
        part(Team(), device)
    else:
        launch(part, count=devices, device=device)
    return checkpoint.read_card(out)


def _train(
    recipe: Recipe,
    team: Team,
    device: str,
    *,
    read: Callable[[], Splits],
    data: Path | None,
    out: Path,
    resume: bool,
    models: Path,
) -> None:
    """One process's part; the first one's is also to measure and to write."""
    with team.leader_first():
        training, validation, test = read()
        source: TaskSource = TASKS.build(
            recipe.tasks.name, pictures=training, spec=recipe.pictures, device=device, **recipe.tasks.options
        )
        check_plan(validation, validation_plan(recipe))
        for plan in _test_plans(recipe):
            if test is not None:
                check_plan(test, plan)
        run, folder = start(recipe, device, models=models), out.with_name(f"{out.name}.run")
        _check_ways(run.learner, recipe)
    with batch_statistics(run.learner) if recipe.transductive else contextlib.nullcontext():
        go_on(run, recipe, folder, resume=resume)
        look = partial(validate, validation=validation, recipe=recipe)
        loop(run, recipe, source, look, folder=folder, device=device, team=team)
        if not team.leads:
            return
        learner = best_learner(run).to(device)  # tested where it was trained: on a GPU in a fraction of the time
        if recipe.half_weights:
            checkpoint.round_to_half(learner)
        table = [] if test is None else test_table(learner, recipe, test, data)
    licence = recipe.labelled.licence or training.licence
    checkpoint.save(
        out,
        learner,
        description=describe(recipe, run, training.source, licence, team.describe(device)) | {"accuracy": table},
        extra={"curve.png": training_curve(run.looks, title=recipe.name)} if run.looks else {},
        half=recipe.half_weights,
    )


def go_on(run: Run, recipe: Recipe, folder: Path, *, resume: bool) -> None:
    """Set `run` to where the folder's was interrupted, if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / RESUME).is_file():
        return
    if not resume:
        raise InvalidRecipe(f"{folder} holds a run already: go on with --resume, or remove the folder to begin anew")
    restore_run(run, recipe, folder / RESUME)


def best_learner(run: Run) -> Learner:
    """The learner with the best weights of all looks, on the CPU, in `eval` mode."""
    learner = run.learner.cpu().to(memory_format=torch.contiguous_format)
    learner.load_state_dict(run.best)
    return learner.eval()


def test_table(learner: Learner, recipe: Recipe, test: Pictures, data: Path | None) -> list[Accuracy]:
    """The card's accuracies: every ways × shots of the recipe, and Lake's runs where it asks and the data hold them."""
    lookup, plans = looking_up(learner, test.images, recipe.pictures), _test_plans(recipe)
    total = sum(plan.episodes for plan in plans)
    with evaluation_workers(learner) as workers, episodes_bar("testing", total=total) as bar:
        rows = [episode_accuracy(learner, lookup, test, plan, workers=workers, advance=bar.advance) for plan in plans]
    rows = [row.model_copy(update={"inductive": not recipe.transductive}) for row in rows]
    if recipe.test.lake and data is not None and holds_lake_runs(data):
        rows.append(lake_accuracy(learner, recipe.pictures, data))
    return rows


def _check_ways(learner: Learner, recipe: Recipe) -> None:
    asked = max(recipe.validation.ways, *recipe.test.ways)
    if learner.most_ways is not None and asked > learner.most_ways:
        raise InvalidRecipe(
            f"{recipe.name} asks for {asked} ways; its learner tells at most {learner.most_ways} apart. Ask for fewer, "
            "or build it for more"
        )


def _test_plans(recipe: Recipe) -> list[EpisodePlan]:
    asked = recipe.test
    return [
        EpisodePlan(ways=ways, shots=shots, queries=asked.queries, episodes=asked.episodes)
        for ways in asked.ways
        for shots in asked.shots
    ]


def describe(recipe: Recipe, run: Run, data: str, licence: str, device: str) -> dict[str, Any]:
    """The card's fields of a run that is over, but for what it was measured at.

    Args:
        recipe: of the run.
        run: over.
        data: what it was trained on.
        licence: of that.
        device: where.
    """
    regresses = run.learner.objective == "squared_error"
    source = Training(
        recipe=recipe.name,
        setting=recipe.setting,
        data=data,
        data_licence=licence,
        steps=recipe.optimizer.steps,
        tasks_per_step=recipe.optimizer.tasks_per_step,
        seed=recipe.seed,
        validation_accuracy=None if regresses else run.best_score,
        validation_error=-run.best_score if regresses else None,
        unlabelled=recipe.data is not None and recipe.data.unlabelled,
        seconds=run.seconds,
        device=device,
        torch=torch.__version__,
    )
    shared = recipe.model_dump(include={"name", "version", "description", "licence", "learner", "backbone", "input"})
    return {**shared, "origin": run.origin, "training": source}
