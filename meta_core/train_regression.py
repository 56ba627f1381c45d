"""Meta-train a regression on generated tasks: the trainer's loop, with errors for accuracies."""

from functools import partial
from pathlib import Path

from meta_core import checkpoint
from meta_core.asking import evaluation_workers
from meta_core.card import Card, SquaredError
from meta_core.device import pick_device
from meta_core.errors import InvalidRecipe
from meta_core.learner import Learner
from meta_core.loop import loop
from meta_core.parallel import Workers
from meta_core.plots import adapted_curves, training_curve
from meta_core.processes import Team, check_devices, launch
from meta_core.progress import episodes_bar
from meta_core.recipe import Recipe
from meta_core.regression import generated, measured_errors, telling_steps
from meta_core.starting import start
from meta_core.train import best_learner, describe, go_on
from meta_core.vectors import VectorSpec


def train_regression(
    recipe: Recipe,
    *,
    out: Path,
    device: str = "auto",
    devices: int = 1,
    resume: bool = False,
    models: Path = Path("models"),
) -> Card:
    """Meta-train as the recipe says and write the checkpoint to `out`, as `meta_core.train.train` does from pictures.

    Args:
        recipe: without `data`, of a learner whose objective is the squared error.
        out: the model's folder.
        device: `cpu`, `cuda`, or `auto` for CUDA where there is one.
        devices: GPUs, or processes on the CPU, that share the tasks of each step.
        resume: go on from where `out.run` says.
        models: where the model is that a recipe's `start_from` names.

    Raises:
        InvalidRecipe: it is of a classification, or of another recipe than the run to resume from.
        InvalidDevices: there are fewer devices, or a step has fewer tasks.
        MissingExtra: the packages of `kshot[train]` are not installed.
        ProcessLost: one of several processes died.
    """
    device = pick_device(device)
    check_devices(devices, device=device, tasks=recipe.optimizer.tasks_per_step)
    part = partial(_train, recipe, out=out, resume=resume, models=models)
    if devices == 1:
        part(Team(), device)
    else:
        launch(part, count=devices, device=device)
    return checkpoint.read_card(out)


def _train(recipe: Recipe, team: Team, device: str, *, out: Path, resume: bool, models: Path) -> None:
    """One process's part; the first one's is also to measure and to write."""
    with team.leader_first():
        run, folder = start(recipe, device, models=models), out.with_name(f"{out.name}.run")
        if run.learner.objective != "squared_error":
            raise InvalidRecipe(
                f"{recipe.name} has no [data], and generated tasks are regressions: give it [data], or the learner "
                'objective = "squared_error"'
            )
        source = generated(recipe.tasks, recipe.input, "training", device=device)
    go_on(run, recipe, folder, resume=resume)
    loop(run, recipe, source, partial(validate, recipe=recipe), folder=folder, device=device, team=team)
    if not team.leads:
        return
    learner = best_learner(run)
    described = describe(recipe, run, f"generated tasks: {recipe.tasks.name}", "none", team.describe(device))
    measured = {"errors": _test(learner, recipe), "tasks": recipe.tasks}
    extra = {"curve.png": training_curve(run.looks, title=recipe.name, regression=True)}
    if isinstance(recipe.input, VectorSpec) and recipe.input.numbers == 1:
        drawn = generated(recipe.tasks, recipe.input, "test", shots=(recipe.test.shots[0],) * 2, queries=200)
        extra["adapted.png"] = adapted_curves(learner, drawn, recipe.input, steps=telling_steps(learner))
    checkpoint.save(out, learner, description=described | measured, extra=extra)


def validate(learner: Learner, workers: Workers | None, *, recipe: Recipe) -> float:
    """Minus the squared error on the fixed validation episodes."""
    asked = recipe.validation
    (row,) = measured_errors(
        learner,
        recipe.tasks,
        recipe.input,
        shots=[asked.shots],
        steps=[None],
        queries=asked.queries,
        episodes=asked.episodes,
        seed=1,
        part="validation",
        workers=workers,
    )
    return -row.error


def _test(learner: Learner, recipe: Recipe) -> list[SquaredError]:
    asked = recipe.test
    steps: list[int | None] = [*asked.steps] or [None]
    total = len(asked.shots) * len(steps) * asked.episodes
    with evaluation_workers(learner) as workers, episodes_bar("testing", total=total) as bar:
        return measured_errors(
            learner,
            recipe.tasks,
            recipe.input,
            shots=asked.shots,
            steps=steps,
            queries=asked.queries,
            episodes=asked.episodes,
            workers=workers,
            advance=bar.advance,
        )
