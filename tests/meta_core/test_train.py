"""The trainer, on made-up drawings: a whole checkpoint, the same weights after an interruption, no unseen overlap."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError

import meta_core.tasks
from meta_core.card import card_text
from meta_core.checkpoint import load
from meta_core.errors import InvalidCheckpoint, InvalidDataset, InvalidOptions, InvalidRecipe, OverlappingSplits
from meta_core.loop import learning_rate
from meta_core.recipe import Optimizer, Recipe
from meta_core.registry import TASKS
from meta_core.splits import splits
from meta_core.starting import start
from meta_core.train import train
from tests.made_up import tiny_recipe, write_npz
from tests.service.running import digits

MORTAL = """
import os, signal
from meta_core.tasks import pictures

sampled = 0


class Mortal(pictures.PictureTasks):
    def sample(self, n_tasks, generator):
        global sampled
        sampled += 1
        if str(sampled) == os.environ.get("DIE_AT"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(n_tasks, generator)


def build(*, pictures, spec, device="cpu", **options):
    options = globals()["pictures"].PictureTaskOptions.model_validate(options)
    return Mortal(pictures, spec=spec, options=options, device=device)
"""

CHILD = """
import sys
from pathlib import Path
import meta_core.tasks, torch
from meta_core.recipe import Recipe
from meta_core.train import train

torch.set_num_threads(1)
folder, recipe, data, out = sys.argv[1:]
meta_core.tasks.__path__.append(folder)
train(Recipe.model_validate_json(recipe), data=Path(data), out=Path(out), device="cpu")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("data") / "made.npz")


@pytest.fixture(scope="module")
def task_sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one more task source, `mortal`: the process is killed when it has sampled `DIE_AT` times."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "mortal.py").write_text(MORTAL)
    meta_core.tasks.__path__.append(str(folder))
    yield folder
    meta_core.tasks.__path__.remove(str(folder))
    sys.modules.pop("meta_core.tasks.mortal", None)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Looks after the steps 2, 4, 6 and 7."""
    tasks = tiny_recipe().tasks
    return tiny_recipe(tasks=tasks.model_copy(update={"name": "mortal"}))


@pytest.fixture(scope="module")
def trained(data: Path, recipe: Recipe, task_sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "tiny"
    train(recipe, data=data, out=out, device="cpu")
    return out


def weights(out: Path) -> bytes:
    return (out / "learner.safetensors").read_bytes()


def last_state(out: Path) -> dict[str, Any]:
    """What a run of as many steps would resume from."""
    state: dict[str, Any] = torch.load(out.with_name(f"{out.name}.run") / "resume.pt", weights_only=True)
    return state


def test_the_checkpoint_is_whole(trained: Path, recipe: Recipe) -> None:
    names = {file.name for file in trained.iterdir()}
    assert names == {"card.json", "learner.safetensors", "encoder.onnx", "README.md", "curve.png"}
    assert (trained / "curve.png").read_bytes().startswith(b"\x89PNG")
    card = load(trained).card
    assert card.name == recipe.name
    assert [(row.ways, row.shots, row.episodes, row.data) for row in card.accuracy] == [
        (2, 1, 10, "made:evaluation"),
        (3, 1, 10, "made:evaluation"),
    ]
    assert card.training.steps == 7
    assert card.training.seed == recipe.seed
    assert "made" in card.training.data
    assert 0 <= card.training.validation_accuracy <= 100


def test_the_readme_shows_the_accuracy_and_the_curve(trained: Path) -> None:
    text, card = (trained / "README.md").read_text("utf-8"), load(trained).card
    for row in card.accuracy:
        assert f"{row.accuracy:.2f} ± {row.ci95:.2f}" in text
    assert "(curve.png)" in text


def test_every_look_is_logged_beside_the_checkpoint(trained: Path) -> None:
    assert list(trained.with_name("tiny.run").glob("events.*"))
    looks = last_state(trained)["looks"]
    assert [look["step"] for look in looks] == [2, 4, 6, 7]
    assert all(math.isfinite(look["loss"]) for look in looks)
    assert load(trained).card.training.validation_accuracy == max(look["score"] for look in looks)


def test_the_weights_kept_are_those_of_the_first_best_look(trained: Path) -> None:
    looks = last_state(trained)["looks"]
    best = max(looks, key=lambda look: look["score"])
    assert best["step"] < 7, "the made-up drawings are easy: no later look is better"
    counters = [v for name, v in load(trained).learner.state_dict().items() if name.endswith("num_batches_tracked")]
    assert {int(counter) for counter in counters} == {best["step"]}  # batch norm counts the steps it was trained for


def test_the_weights_have_moved(trained: Path, recipe: Recipe) -> None:
    fresh, found = start(recipe, "cpu").learner.state_dict(), load(trained).learner.state_dict()
    assert any(not torch.equal(fresh[name], found[name]) for name in fresh)


def test_a_killed_run_resumes_to_the_same_weights(
    trained: Path, data: Path, recipe: Recipe, task_sources: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tiny"
    # Killed while it draws the tasks of step 6: the last file to resume from is that of step 4.
    arguments = [str(task_sources), recipe.model_dump_json(), str(data), str(out)]
    child = subprocess.run([sys.executable, "-c", CHILD, *arguments], env={**os.environ, "DIE_AT": "7"}, check=False)
    assert child.returncode == -signal.SIGKILL
    assert not out.exists()
    module = vars(TASKS.module("mortal"))
    module["sampled"] = 0
    train(recipe, data=data, out=out, device="cpu", resume=True)
    assert module["sampled"] == 4, "the memory's plan, then the steps 5, 6 and 7 remained"
    assert weights(out) == weights(trained)
    assert load(out).card.accuracy == load(trained).card.accuracy
    # The best weights may be early ones; the last ones and every look must agree as well.
    resumed, whole = last_state(out), last_state(trained)
    assert resumed["looks"] == whole["looks"]
    assert all(torch.equal(resumed["learner"][name], whole["learner"][name]) for name in whole["learner"])


def test_a_finished_run_resumes_to_the_same_checkpoint(trained: Path, data: Path, recipe: Recipe) -> None:
    before, curve = weights(trained), (trained / "curve.png").read_bytes()
    train(recipe, data=data, out=trained, device="cpu", resume=True)
    assert weights(trained) == before
    assert (trained / "curve.png").read_bytes() == curve


def test_no_steps_leave_the_weights_as_they_were_drawn(data: Path, tmp_path: Path) -> None:
    drawn = tiny_recipe(optimizer={"rate": 0.01, "steps": 0})
    card = train(drawn, data=data, out=tmp_path / "drawn", device="cpu")
    fresh, found = start(drawn, "cpu").learner.state_dict(), load(tmp_path / "drawn").learner.state_dict()
    assert all(torch.equal(fresh[name], found[name]) for name in fresh)
    assert card.training is not None
    assert card.training.steps == 0
    assert "Not meta-trained" in (tmp_path / "drawn" / "README.md").read_text("utf-8")
    assert not (tmp_path / "drawn" / "curve.png").exists()


def test_more_ways_than_the_learner_tells_apart_are_refused_before_training(data: Path, tmp_path: Path) -> None:
    bound = tiny_recipe(learner={"name": "mann", "options": {"most_ways": 2}})
    with pytest.raises(InvalidRecipe, match="asks for 3 ways; its learner tells at most 2 apart"):
        train(bound, data=data, out=tmp_path / "bound", device="cpu")
    assert not (tmp_path / "bound").exists()


def test_the_card_says_which_setting_ran(trained: Path, recipe: Recipe) -> None:
    card = load(trained).card
    assert card.training is not None
    assert card.training.setting is None
    for setting, words in (("short", "`tiny`, the short setting, on"), ("full", "`tiny`, the paper's setting, on")):
        told = card.model_copy(update={"training": card.training.model_copy(update={"setting": setting})})
        assert words in card_text(told)


def test_another_recipe_cannot_go_on(trained: Path, data: Path, recipe: Recipe) -> None:
    other = recipe.model_copy(update={"seed": 1})
    with pytest.raises(InvalidRecipe, match="another recipe"):
        train(other, data=data, out=trained, device="cpu", resume=True)


def test_a_run_that_can_be_resumed_is_not_trained_over(trained: Path, data: Path, recipe: Recipe) -> None:
    with pytest.raises(InvalidRecipe, match="--resume"):
        train(recipe, data=data, out=trained, device="cpu")


def test_a_test_on_training_classes_is_refused(data: Path, tmp_path: Path) -> None:
    splits = {"train_split": "background", "validation_groups": ["alphabet3"], "test_split": "background"}
    with pytest.raises(OverlappingSplits, match="share 8 classes"):
        train(tiny_recipe(data=splits), data=data, out=tmp_path / "tiny", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_training_picture_among_the_tests_is_refused(tmp_path: Path) -> None:
    with np.load(write_npz(tmp_path / "made.npz")) as arrays:
        images = arrays["images"]
    images[15, 0] = images[2, 5]
    path = write_npz(tmp_path / "copied.npz", images=images)
    with pytest.raises(OverlappingSplits, match="1 pictures of copied:evaluation are also in copied:background"):
        train(tiny_recipe(), data=path, out=tmp_path / "tiny", device="cpu")


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_measurement_that_the_data_cannot_fill_is_refused_before_training(
    data: Path, tmp_path: Path, part: str
) -> None:
    asked = getattr(tiny_recipe(), part).model_copy(update={"queries": 15})
    with pytest.raises(InvalidDataset, match="15 queries"):
        train(tiny_recipe(**{part: asked}), data=data, out=tmp_path / "tiny", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_the_rate_rises_linearly_and_falls_along_a_cosine() -> None:
    optimizer = Optimizer(rate=0.8, warmup_steps=4, steps=14)
    assert [learning_rate(step, optimizer) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert learning_rate(4, optimizer) == pytest.approx(0.8)
    assert learning_rate(9, optimizer) == pytest.approx(0.4)
    assert learning_rate(14, optimizer) == pytest.approx(0, abs=1e-12)
    falling = [learning_rate(step, optimizer) for step in range(4, 14)]
    assert falling == sorted(falling, reverse=True)


def test_a_seed_decides_the_first_weights(recipe: Recipe) -> None:
    def first(seed: int) -> str:
        state = start(recipe.model_copy(update={"seed": seed}), "cpu").learner.state_dict()
        return json.dumps({name: tensor.double().sum().item() for name, tensor in state.items()})

    assert first(0) == first(0)
    assert first(0) != first(1)


def test_a_plain_folder_of_ones_own_pictures_is_trained_on_by_holding_out_classes(tmp_path: Path) -> None:
    """Real digits, a folder each: no split, so the recipe names the classes that choose and those that test."""
    for number, (label, data) in enumerate(digits(12)):
        file = tmp_path / "digits" / label / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    held_out = {"validation_groups": ["0", "1"], "test_groups": ["2", "3", "4"]}
    card = train(tiny_recipe(data=held_out), data=tmp_path / "digits", out=tmp_path / "mine", device="cpu")
    assert [(row.data, row.ways) for row in card.accuracy] == [("digits (held out)", 2), ("digits (held out)", 3)]
    assert load(tmp_path / "mine").card == card


def test_the_training_part_and_the_test_part_are_both_named_or_refused() -> None:
    for test in ({}, {"test_split": "test", "test_groups": ["a"]}):
        with pytest.raises(ValidationError, match="test_groups, and not both"):
            tiny_recipe(data={"validation_groups": ["b"], **test})


def maml_recipe(**changes: Any) -> Recipe:
    learner = {"name": "maml", "options": {"steps": 2, "first_order_until": 0.5}}
    backbone = {"name": "conv4", "options": {"width": 8, "norm": "group"}}
    return tiny_recipe(learner=learner, backbone=backbone, **changes)


def test_a_learner_that_adapts_by_gradient_is_trained_in_threads_to_the_same_weights(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bit for bit, whichever thread is faster; what a step takes in memory is said first."""
    for name in ("one", "two"):
        train(maml_recipe(), data=data, out=tmp_path / name, device="cpu")
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    said = " ".join(capsys.readouterr().err.split())
    assert "a task's graph takes" in said
    assert "at a time" in said
    card = load(tmp_path / "one").card
    assert set(card.adapt) == {"steps", "rate"}
    assert card.state_bytes.fixed > 0


def test_rates_are_learned_and_do_not_decay(data: Path) -> None:
    run = start(maml_recipe(), "cpu")
    groups = {len(group["params"]): group["weight_decay"] for group in run.optimizer.param_groups}
    assert groups[1] == 0.0
    assert len(groups) == 2


def test_validation_may_be_a_split_of_its_own(tmp_path: Path) -> None:
    parts = np.arange(16) // 2 % 3  # whole alphabets
    data = write_npz(tmp_path / "made.npz", vinyals=parts)
    own = {"train_split": "vinyals-train", "validation_split": "vinyals-val", "test_split": "vinyals-test"}
    recipe = tiny_recipe(data=own, test={"ways": [2], "shots": [1], "queries": 2, "episodes": 5, "rotations": True})
    training, validation, test = splits(recipe, data)
    assert [len(part.classes) for part in (training, validation, test)] == [6, 6, 16]
    assert not set(training.classes) & set(validation.classes)
    assert "rotations" in test.source


def test_validation_is_named_in_one_way() -> None:
    for named in ({}, {"validation_split": "a", "validation_groups": ["b"]}):
        with pytest.raises(ValidationError, match="give validation_split, or validation_groups"):
            tiny_recipe(data={"test_split": "evaluation", **named})


def test_a_run_may_start_with_another_models_backbone(trained: Path, recipe: Recipe) -> None:
    models = trained.parent
    later = recipe.model_copy(update={"start_from": trained.name, "seed": 5})
    run = start(later, "cpu", models=models)
    taken, given = run.learner.backbone.state_dict(), load(trained).learner.backbone.state_dict()
    assert all(torch.equal(taken[name], given[name]) for name in given)


def test_a_run_may_start_with_pretrained_weights_and_its_card_says_whose(data: Path, tmp_path: Path) -> None:
    given = timm.create_model("test_resnet", pretrained=False).state_dict()
    torch.save(given, tmp_path / "somebodys.pth")
    recipe = tiny_recipe(
        learner={"name": "logistic"},
        backbone="timm:test_resnet",
        pretrained=str(tmp_path / "somebodys.pth"),
        freeze_backbone=True,
        optimizer={"rate": 0.01, "steps": 1},
    )
    card = train(recipe, data=data, out=tmp_path / "photos", device="cpu")
    assert card.origin is not None
    assert "somebodys.pth" in card.origin
    assert card.training is not None
    assert str(tmp_path) not in card.model_dump_json(), "a path of this machine"
    taken = load(tmp_path / "photos").learner.backbone.network.state_dict()
    assert torch.equal(taken["layer4.0.conv1.weight"], given["layer4.0.conv1.weight"])
    assert (
        start(tiny_recipe(start_from="photos", backbone="timm:test_resnet"), "cpu", models=tmp_path).origin
        == card.origin
    )


def test_a_backbone_that_does_not_fit_is_refused_by_name(trained: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match="tiny: its backbone"):
        start(maml_recipe(start_from="tiny"), "cpu", models=trained.parent)
    with pytest.raises(InvalidCheckpoint, match="nowhere"):
        start(maml_recipe(start_from="nowhere"), "cpu", models=trained.parent)


def test_a_transductive_recipe_says_so_and_needs_batch_norm(data: Path, tmp_path: Path) -> None:
    backbone = {"name": "conv4", "options": {"width": 8, "norm": "batch"}}
    learner = {"name": "maml", "options": {"steps": 2}}
    recipe = tiny_recipe(learner=learner, backbone=backbone, transductive=True)
    card = train(recipe, data=data, out=tmp_path / "papers", device="cpu")
    assert not any(row.inductive for row in card.accuracy)
    with pytest.raises(InvalidOptions, match="no batch norm"):
        train(maml_recipe(transductive=True), data=data, out=tmp_path / "none", device="cpu")


def test_a_frozen_backbone_stays_as_it_is_and_what_stands_on_it_is_trained(trained: Path, data: Path) -> None:
    recipe = tiny_recipe(learner={"name": "logistic"}, start_from=trained.name, freeze_backbone=True)
    out = trained.parent / "frozen"
    train(recipe, data=data, out=out, device="cpu", models=trained.parent)
    given, found = load(trained).learner, load(out).learner
    taken = found.backbone.state_dict()
    assert all(torch.equal(taken[name], tensor) for name, tensor in given.backbone.state_dict().items())
    last = last_state(out)["learner"]
    fresh = start(recipe, "cpu", models=trained.parent).learner.state_dict()
    assert not torch.equal(last["log_penalty"], fresh["log_penalty"])
