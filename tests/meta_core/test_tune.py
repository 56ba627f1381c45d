"""`kshot tune`: a bad recipe gets better, an interrupted search goes on, and what may be searched."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from meta_core.errors import InvalidRecipe
from meta_core.recipe import Recipe, load_recipe, shipped_recipes
from meta_core.search_space import changed, changed_text, search_space
from meta_core.tune import Tuned, tune
from meta_core.tune_plot import tuning_picture
from meta_core.tune_trial import LOOKS, steps_within
from service.cli import app
from tests.conftest import DATA
from tests.made_up import tiny_recipe, write_npz

BAD = """
# A network of one filter, which hardly tells anything apart.
name = "bad"
description = "Made up by the tests."

[input]
channels = 1
height = 16
width = 16

[backbone]
name = "conv4"
options = { width = 1 }

[learner]
name = "protonet"
options = { scale = 0.1 }  # stays

[tasks]
name = "pictures"
options = { ways = [4, 4], shots = [1, 1], queries = 3 }

[data]
train_split = "background"
validation_groups = ["alphabet2", "alphabet3"]
test_split = "evaluation"

[optimizer]
rate = 0.001
steps = 300

[validation]
episodes = 40
ways = 4
queries = 3

[tune]
"optimizer.rate" = { from = 1e-3, to = 1e-1, log = true }
"backbone.options.width" = { choices = [4, 16] }
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("data") / "made.npz")


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "bad.toml"
    path.write_text(BAD)
    return path


@pytest.fixture(scope="module")
def tuned(bad: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe that five short trials made of the bad one."""
    out = tmp_path_factory.mktemp("tuned") / "better.toml"
    arguments = ["tune", str(bad), "--data", str(data), "--out", str(out), "--trials", "5", "--steps", "8"]
    done = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    (line,) = re.findall(r"validation accuracy.*", done.stdout)
    before, after = (float(figure) for figure in re.findall(r"([\d.]+) %", line)[:2])
    assert after >= before + 5
    return out


def test_a_bad_recipe_gets_five_points_better_and_keeps_the_rest(tuned: Path, bad: Path) -> None:
    better, before = load_recipe(str(tuned)), load_recipe(str(bad))
    assert 1e-3 <= better.optimizer.rate <= 1e-1
    assert better.backbone.options["width"] in (4, 16)
    assert better.optimizer.steps == before.optimizer.steps
    assert better.model_copy(update={"optimizer": before.optimizer, "backbone": before.backbone}) == before
    text = tuned.read_text("utf-8")
    assert "# stays" in text
    assert text.startswith("# Found by `kshot tune` in 5 trials of 8 steps")


def test_the_search_is_drawn(tuned: Path) -> None:
    assert tuned.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_study_says_the_same_again_and_one_more_trial_goes_on(tuned: Path, bad: Path, data: Path) -> None:
    def again(trials: int) -> Tuned:
        return tune(
            load_recipe(str(bad)),
            data=data,
            study=tuned.with_suffix(".study.db"),
            trials=trials,
            steps=999,  # the study's own steps go on
            device="cpu",
            resume=True,
        )

    found = again(5)
    assert [trial.number for trial in found.trials] == list(range(5))
    assert found.steps == 8
    assert found.recipe.values == {}
    assert load_recipe(str(tuned)).optimizer.rate == found.best.values["optimizer.rate"]
    more = again(6)
    assert more.trials[:5] == found.trials
    assert more.trials[5].values not in [trial.values for trial in found.trials]
    assert tuning_picture(more, title="made up").startswith(b"\x89PNG")


def test_an_interrupted_search_repeats_the_trial_that_was_cut(bad: Path, data: Path, tmp_path: Path) -> None:
    study = tmp_path / "cut.study.db"
    recipe = load_recipe(str(bad))
    tune(recipe, data=data, study=study, trials=1, steps=2, device="cpu")
    storage = optuna.storages.RDBStorage(f"sqlite:///{study}")
    opened = optuna.load_study(study_name="kshot", storage=storage)
    cut = opened.ask()  # what a kill leaves behind: a trial that runs
    cut.suggest_float("optimizer.rate", 1e-3, 1e-1, log=True)
    cut.suggest_categorical("backbone.options.width", ["4", "16"])
    asked = cut.params
    storage.remove_session()
    storage.engine.dispose()
    found = tune(recipe, data=data, study=study, trials=2, device="cpu", resume=True)
    assert [trial.number for trial in found.trials] == [0, 2]
    assert found.trials[1].values["optimizer.rate"] == pytest.approx(asked["optimizer.rate"], rel=0.01)


def test_a_study_is_neither_searched_over_nor_mixed_with_another_recipes(tuned: Path, bad: Path, data: Path) -> None:
    recipe, study = load_recipe(str(bad)), tuned.with_suffix(".study.db")
    with pytest.raises(InvalidRecipe, match="--resume"):
        tune(recipe, data=data, study=study)
    with pytest.raises(InvalidRecipe, match="another recipe"):
        tune(recipe.model_copy(update={"seed": 9}), data=data, study=study, resume=True)


def test_what_may_be_searched_by_itself_are_rate_decay_and_the_learners_numbers() -> None:
    for name in shipped_recipes():
        recipe = load_recipe(name)
        assert {"optimizer.rate", "optimizer.weight_decay"} <= set(search_space(recipe))
    space = search_space(load_recipe("omniglot-protonet"))
    assert (space["learner.options.scale"].low, space["learner.options.scale"].high) == (0.02, 2.0)


@pytest.mark.parametrize(
    ("tuned", "message"),
    [
        ({"optimizer.rat": {"from": 0.1, "to": 1.0}}, "rat"),
        ({"optimizer.rate": {"from": -1.0, "to": 1.0}}, "greater than 0"),
        ({"validation.ways": {"from": 2, "to": 5}}, "could not be compared"),
        ({"seed": {"from": 0, "to": 5}}, "could not be compared"),
        ({"licence.of": {"from": 0, "to": 5}}, "holds no further settings"),
    ],
)
def test_a_setting_that_cannot_be_searched_is_refused_before_anything_runs(tuned: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        search_space(tiny_recipe(tune=tuned))


@pytest.mark.parametrize(
    "searched", [{}, {"from": 2}, {"from": 3, "to": 2}, {"from": 0, "to": 1, "log": True}, {"choices": [1], "from": 1}]
)
def test_a_range_that_is_none_is_refused(searched: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        tiny_recipe(tune={"optimizer.rate": searched})


def test_a_trial_is_as_long_as_its_time_less_its_looks() -> None:
    steps = steps_within(60, per_step=0.01, look=1)
    assert LOOKS * 1 + steps * 0.01 == pytest.approx(60, abs=0.01)
    assert steps_within(4, per_step=0.01, look=1) == 200, (
        "where its looks alone take too long, half of its time is for steps"
    )
    assert steps_within(1, per_step=10, look=0) == LOOKS, "a step for each look is the least"


def test_a_recipes_text_keeps_comments_and_takes_what_it_did_not_say() -> None:
    text = 'learner = "protonet"  # short\n\n[optimizer]\nrate = 0.1  # large\n'
    values = {"learner.options.scale": 0.5, "optimizer.rate": 0.02, "optimizer.weight_decay": 0.001}
    made = changed_text(text, values, comment="found")
    assert made.startswith("# found\n")
    assert "rate = 0.02  # large" in made
    assert 'learner = {name = "protonet", options = {scale = 0.5}}' in made
    assert "weight_decay = 0.001" in made


def test_a_changed_recipe_is_a_whole_recipe() -> None:
    recipe: Recipe = changed(tiny_recipe(), {"tasks.options.ways": [2, 3], "optimizer.rate": 0.5})
    assert recipe.tasks.options["ways"] == [2, 3]
    assert recipe.optimizer.rate == 0.5
    assert recipe.optimizer.steps == tiny_recipe().optimizer.steps


@pytest.mark.soak
@pytest.mark.data
@pytest.mark.timeout(1200)
def test_a_bad_recipe_for_omniglot_gets_five_points_better_in_ten_minutes_though_it_is_killed(tmp_path: Path) -> None:
    """The rate is a thousandth of the shipped recipe's; killed once, then resumed for the rest of the ten minutes."""
    text = changed_text(
        Path("meta_core/recipes/omniglot-protonet.toml").read_text("utf-8"), {"optimizer.rate": 2e-6}, comment="bad"
    )
    (tmp_path / "bad.toml").write_text(text)
    arguments = [sys.executable, "-m", "service", "tune", str(tmp_path / "bad.toml"), "--device", "cpu"]
    arguments += ["--data", str(DATA / "omniglot_28_u8.npz"), "--out", str(tmp_path / "better.toml")]
    child = subprocess.Popen([*arguments, "--minutes", "10"])
    time.sleep(200)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    done = subprocess.run(
        [*arguments, "--minutes", "6.5", "--resume"], capture_output=True, text=True, check=True, timeout=900
    )
    (line,) = re.findall(r"validation accuracy.*", done.stdout)
    before, after = (float(figure) for figure in re.findall(r"([\d.]+) %", line)[:2])
    assert after >= before + 5, line
