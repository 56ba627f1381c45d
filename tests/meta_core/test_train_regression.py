"""Regression on generated tasks, trained for seconds: errors for accuracies, and a run that goes on."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from meta_core.card import Part
from meta_core.checkpoint import load
from meta_core.errors import InvalidRecipe, NotAClassifier
from meta_core.learner import AdaptOptions
from meta_core.recipe import Recipe, load_recipe
from meta_core.regression import generated, measured_errors, task_errors
from meta_core.train import train
from meta_core.train_regression import train_regression


def tiny(**changes: Any) -> Recipe:
    """Sine waves for two seconds."""
    options = {"steps": 2, "rate": 0.02, "rates": "fixed", "objective": "squared_error"}
    fields: dict[str, Any] = {
        "name": "tiny-waves",
        "description": "Made up by the tests.",
        "input": {"numbers": 1},
        "learner": {"name": "network_maml", "options": options},
        "backbone": {"name": "mlp", "options": {"hidden": [20, 20]}},
        "tasks": {"name": "sinusoid", "options": {"shots": [10, 10], "queries": 10}},
        "optimizer": {"rate": 0.01, "steps": 120, "tasks_per_step": 10, "clip_norm": 10},
        "validation": {"every": 60, "episodes": 50, "shots": 10, "queries": 20},
        "test": {"shots": [10], "steps": [0, 2], "queries": 20, "episodes": 60},
    }
    return Recipe.model_validate(fields | changes)


def one_wave() -> Recipe:
    """The same task again and again."""
    options = {"shots": [10, 10], "queries": 10, "amplitude": [1, 1], "phase": [0, 0], "inputs": [-1, 1]}
    return tiny(tasks={"name": "sinusoid", "options": options})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "tiny-waves"
    train_regression(tiny(), out=out, device="cpu")
    return out


def test_the_checkpoint_says_what_it_is_and_how_far_off(trained: Path) -> None:
    assert {"curve.png", "adapted.png", "card.json"} <= {file.name for file in trained.iterdir()}
    card = load(trained).card
    assert card.regresses
    assert card.tasks == tiny().tasks
    assert [(row.shots, row.steps, row.episodes) for row in card.errors] == [(10, 0, 60), (10, 2, 60)]
    before, after = card.errors
    assert after.error < 0.8 * before.error  # of the same tasks
    assert card.training is not None
    assert card.training.validation_accuracy is None
    assert card.training.validation_error is not None
    text = (trained / "README.md").read_text("utf-8")
    assert f"{after.error:.4f} ± {after.ci95:.4f}" in text
    assert "Input: 1 number" in text


def test_the_error_in_the_card_is_that_of_the_weights_in_the_folder(trained: Path) -> None:
    model = load(trained)
    rows = measured_errors(
        model.learner, tiny().tasks, model.card.input, shots=[10], steps=[0, 2], queries=20, episodes=60
    )
    for row, expected in zip(rows, model.card.errors, strict=True):
        assert row.error == pytest.approx(expected.error, rel=1e-4)


def test_an_interrupted_run_ends_with_the_same_weights(trained: Path, tmp_path: Path) -> None:
    half = tiny(optimizer={**tiny().optimizer.model_dump(), "steps": 60})
    out = tmp_path / "tiny-waves"
    train_regression(half, out=out, device="cpu")
    state = torch.load(out.with_name("tiny-waves.run") / "resume.pt", weights_only=True)
    assert state["progress"][0] == 60
    with pytest.raises(InvalidRecipe, match="go on with --resume"):
        train_regression(half, out=out, device="cpu")
    with pytest.raises(InvalidRecipe, match="of another recipe"):
        train_regression(tiny(), out=out, device="cpu", resume=True)
    train_regression(half, out=out, device="cpu", resume=True)  # nothing is left to do, and nothing changes
    assert torch.equal(load(out).learner.backbone[0].weight, state["best"]["backbone.0.weight"])  # type: ignore[index]
    assert not torch.equal(load(trained).learner.backbone[0].weight, state["best"]["backbone.0.weight"])  # type: ignore[index]


def three_steps(learner: str) -> Recipe:
    """Of a learner that encodes."""
    return tiny(
        learner={"name": learner, "options": {"objective": "squared_error"}},
        optimizer={"rate": 0.001, "steps": 3, "tasks_per_step": 2},
        validation={"every": 3, "episodes": 5, "shots": 10, "queries": 20},
        test={"shots": [5], "queries": 20, "episodes": 5},
    )


@pytest.mark.parametrize("name", ["cnp", "mr_cnp", "mr_maml"])
def test_a_learner_that_encodes_is_trained_measured_and_drawn(tmp_path: Path, name: str) -> None:
    out = tmp_path / "waves"
    train_regression(three_steps(name), out=out, device="cpu")
    (row,) = load(out).card.errors
    assert (row.shots, row.steps) == (5, None)
    assert (out / "adapted.png").stat().st_size > 0


def test_the_error_is_the_mean_over_queries_of_the_square(trained: Path) -> None:
    model = load(trained)
    episode = generated(tiny().tasks, model.card.input, "test").sample(2, torch.Generator().manual_seed(1))
    found = task_errors(model.learner, episode, options=AdaptOptions(steps=0))
    for task in range(2):
        answers = model.learner.backbone(episode.query.inputs[task])
        squares = [(float(a) - float(y)) ** 2 for a, y in zip(answers, episode.query.targets[task], strict=True)]
        assert float(found[task]) == pytest.approx(math.fsum(squares) / len(squares), rel=1e-5)


def test_a_recipe_of_generated_tasks_is_a_regression_and_needs_no_data(trained: Path, tmp_path: Path) -> None:
    learner = {"name": "network_maml", "options": {"objective": "cross_entropy"}}
    with pytest.raises(InvalidRecipe, match='objective = "squared_error"'):
        train_regression(tiny(learner=learner), out=tmp_path / "x", device="cpu")
    with pytest.raises(InvalidRecipe, match=r"has no \[data\]"):
        train(tiny(), data=tmp_path, out=tmp_path / "x", device="cpu")
    with pytest.raises(NotAClassifier, match="tiny-waves is a regression"):
        _ = load(trained).card.pictures


@pytest.mark.parametrize("name", ["sinusoid-maml", "pose-maml", "pose-mr-maml", "pose-cnp", "pose-mr-cnp"])
def test_a_shipped_recipe_s_tasks_can_be_drawn(name: str) -> None:
    recipe = load_recipe(name)
    episode = generated(Part.model_validate(recipe.tasks), recipe.input, "training").sample(2, torch.Generator())
    assert episode.support.inputs.shape[2:] == recipe.input.shape
