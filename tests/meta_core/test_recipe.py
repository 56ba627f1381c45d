"""Recipes: the shipped ones load, and a wrong one is told by its field."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from meta_core.checkpoint import build_learner
from meta_core.errors import InvalidRecipe
from meta_core.recipe import Recipe, load_recipe, shipped_recipes
from meta_core.tasks.all_classes import AllClassesOptions
from meta_core.tasks.cactus import CactusOptions
from meta_core.tasks.pictures import PictureTaskOptions
from meta_core.tasks.umtra import UmtraOptions
from tests.made_up import tiny_recipe

OPTIONS = {"all_classes": AllClassesOptions, "cactus": CactusOptions, "umtra": UmtraOptions}
"""Of task sources that are not `pictures`."""

TOML = """
name = "mine"
description = "My own."
input = { channels = 1, height = 28, width = 28 }
learner = { name = "protonet" }
backbone = { name = "conv4", options = { width = 8 } }
tasks = { name = "pictures" }
data = { validation_groups = ["one"], test_split = "test" }
optimizer = { rate = 1e-3, steps = 10 }
"""


def test_the_default_models_recipe_is_shipped() -> None:
    assert "omniglot-protonet" in shipped_recipes()


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_describes_what_can_be_built(name: str) -> None:
    short = load_recipe(name)
    for recipe in [short, load_recipe(name, full=True)] if short.full else [short]:
        assert recipe.name == name
        learner = build_learner(recipe.learner, recipe.backbone, recipe.input)
        if recipe.data is not None:
            tasks = OPTIONS.get(recipe.tasks.name, PictureTaskOptions).model_validate(recipe.tasks.options)
            most = max(getattr(tasks, "ways", (0, 0))[1], recipe.validation.ways, *recipe.test.ways)
            assert most <= (learner.most_ways or most)


def test_a_recipe_of_ones_own_is_read_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TOML)
    recipe = load_recipe(str(tmp_path / "mine.toml"))
    assert recipe.name == "mine"
    assert recipe.backbone.options == {"width": 8}
    assert recipe.test.ways == [5, 20]


def test_a_split_that_is_not_given_is_every_class(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TOML)
    assert load_recipe(str(tmp_path / "mine.toml")).labelled.train_split is None


def test_an_unknown_recipe_is_answered_with_the_shipped_ones() -> None:
    with pytest.raises(InvalidRecipe, match=r"no recipe 'omniglot'.*omniglot-protonet"):
        load_recipe("omniglot")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"\n', "", "name"),
        ('name = "mine"', 'name = "My Model!"', "name"),
        ("steps = 10", "steps = -1", r"optimizer\.steps"),
        ("rate = 1e-3", 'rate = "fast"', r"optimizer\.rate"),
        ("rate = 1e-3", "rate = 1e-3, momentum = 0.9", r"optimizer\.momentum"),
        ("channels = 1", "channels = 2", r"input\.pictures\.channels"),
        ('description = "My own."', 'description = "My own."\nepochs = 3', "epochs"),
        ("optimizer =", "optimizer", "line 9"),
    ],
)
def test_a_wrong_field_is_named_with_the_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TOML
    (tmp_path / "mine.toml").write_text(TOML.replace(old, new))
    with pytest.raises(InvalidRecipe, match=rf"(?s)mine\.toml.*{message}"):
        load_recipe(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("test", "episodes", 1),  # one episode has no confidence interval, and NaN is not JSON
        ("test", "queries", 0),
        ("test", "ways", [1]),
        ("test", "shots", [0]),
        ("validation", "episodes", 0),
        ("validation", "ways", 1),
        ("validation", "every", 0),
    ],
)
def test_a_figure_that_cannot_be_measured_is_refused(part: str, field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=rf"{part}\.{field}"):
        tiny_recipe(**{part: {field: value}})


FULL = (
    TOML
    + """
[full.backbone.options]
norm = "group"

[full.optimizer]
steps = 5000
"""
)


def test_the_full_setting_is_the_short_one_with_what_it_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(FULL)
    short, full = (load_recipe(str(tmp_path / "mine.toml"), full=full) for full in (False, True))
    assert (short.setting, short.optimizer.steps, short.backbone.options) == ("short", 10, {"width": 8})
    assert (full.setting, full.optimizer.steps) == ("full", 5000)
    assert full.backbone.options == {"width": 8, "norm": "group"}
    assert full.optimizer.rate == short.optimizer.rate
    assert full.learner == short.learner


def test_a_recipe_of_one_setting_has_no_full_one(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TOML)
    assert load_recipe(str(tmp_path / "mine.toml")).setting is None
    with pytest.raises(InvalidRecipe, match=r"mine\.toml has no \[full\] table.*without --full"):
        load_recipe(str(tmp_path / "mine.toml"), full=True)


def test_a_wrong_full_setting_is_told_before_it_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(FULL.replace("steps = 5000", "steps = -1"))
    with pytest.raises(InvalidRecipe, match=r"(?s)mine\.toml.*optimizer\.steps"):
        load_recipe(str(tmp_path / "mine.toml"))


def test_a_recipe_survives_json() -> None:
    assert Recipe.model_validate_json(tiny_recipe().model_dump_json()) == tiny_recipe()


def test_a_backbone_of_timm_may_be_named_in_a_string_and_brings_its_input(tmp_path: Path) -> None:
    short = TOML.replace('{ name = "conv4", options = { width = 8 } }', '"timm:test_resnet"')
    (tmp_path / "mine.toml").write_text(short.replace("input = { channels = 1, height = 28, width = 28 }", ""))
    recipe = load_recipe(str(tmp_path / "mine.toml"))
    assert recipe.backbone.model_dump() == {"name": "timm", "options": {"model": "test_resnet"}}
    assert recipe.input.shape == (3, 160, 160)
    assert recipe.input.mean == (0.5, 0.5, 0.5)
    (tmp_path / "mine.toml").write_text(
        short.replace("channels = 1, height = 28, width = 28", "height = 64, width = 48")
    )
    recipe = load_recipe(str(tmp_path / "mine.toml"))
    assert recipe.input.shape == (3, 64, 48)
    assert recipe.input.std == (0.5, 0.5, 0.5)
    assert build_learner(recipe.learner, recipe.backbone, recipe.input).backbone.network.num_features == 96


def test_a_backbone_starts_from_one_place() -> None:
    assert tiny_recipe(pretrained="weights.safetensors").pretrained == "weights.safetensors"
    with pytest.raises(ValidationError, match=r"pretrained, or of start_from"):
        tiny_recipe(pretrained="hub", start_from="omniglot-protonet")
