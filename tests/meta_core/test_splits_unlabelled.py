"""Training without labels: what is read, what is held back, and that no label is seen."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from typer.testing import CliRunner

from meta_core.checkpoint import load
from meta_core.errors import InvalidDataset, InvalidRecipe
from meta_core.recipe import Recipe
from meta_core.splits import splits
from meta_core.train import train
from meta_core.unlabelled import read_unlabelled
from service.cli import app
from tests.made_up import SPEC, tiny_recipe, write_npz
from tests.service.running import digits

UMTRA = {"name": "umtra", "options": {"ways": [4, 4], "queries": 2}}


def recipe(**changes: Any) -> Recipe:
    own = {"train_split": "background", "unlabelled": True, "validation_share": 0.25, "test_split": "evaluation"}
    return tiny_recipe(**({"tasks": UMTRA, "data": own} | changes))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("labelled") / "made.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real digits at several depths, one of them twice, and two files that are no pictures."""
    path = tmp_path_factory.mktemp("scans") / "scans"
    (path / "old" / "box 1").mkdir(parents=True)
    for number, (_, data) in enumerate(digits(3)):
        where = path if number % 2 else path / "old" / "box 1"
        (where / f"{number:02d}.png").write_bytes(data)
    shutil.copy(path / "01.png", path / "old" / "copy of 01.png")
    (path / "notes.txt").write_text("what these are")
    (path / "broken.png").write_bytes(b"\x89PNG")
    (path / ".DS_Store").write_bytes(b"\0")
    return path


def test_every_picture_at_any_depth_is_read_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = read_unlabelled(folder, SPEC)
    assert len(pictures.images) == len(digits(3))
    assert len(pictures.classes) == len(pictures.images)
    said = " ".join(capsys.readouterr().err.split())
    assert "left out 2 files" in said
    assert "notes.txt" in said
    assert "broken.png" in said
    assert "1 pictures are there already" in said


def test_a_zip_is_read_as_the_folder_is(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    packed, plain = read_unlabelled(tmp_path / "scans.zip", SPEC), read_unlabelled(folder, SPEC)
    assert {image.numpy().tobytes() for image in packed.images} == {image.numpy().tobytes() for image in plain.images}


def test_labels_do_not_reach_training_nor_the_choice_of_weights(labelled: Path, tmp_path: Path) -> None:
    """The same pictures under other names come to the same parts, and no name is left in them."""
    names = np.array([f"other{number:02d}" for number in range(16)])
    others = write_npz(tmp_path / "made.npz", character=names)
    first, second = splits(recipe(), labelled), splits(recipe(), others)
    for one, two in zip(first[:2], second[:2], strict=True):
        assert torch.equal(one.images, two.images)
        assert one.classes == two.classes
        assert not [name for name in one.classes if "character" in name or "alphabet" in name]
        assert one.files == ()


def test_pictures_held_back_do_not_train_and_their_copies_are_classes(labelled: Path) -> None:
    training, validation, test = splits(recipe(), labelled)
    assert len(training.images) == 36  # 8 classes of 6, less a quarter
    assert len(validation.classes) == 12
    assert [len(own) for own in validation.by_class()] == [3] * 12  # a shot and two queries
    assert test is not None
    assert len(test.classes) == 8
    trained = {image.numpy().tobytes() for image in training.images}
    assert not [image for image in validation.images if image.numpy().tobytes() in trained]
    again = splits(recipe(), labelled).validation
    assert torch.equal(again.images, validation.images)


def test_a_folder_without_labels_is_trained_on_and_the_card_says_what_is_known(folder: Path, tmp_path: Path) -> None:
    card = train(recipe(), data=None, unlabelled=folder, out=tmp_path / "mine", device="cpu")
    assert card.accuracy == []
    assert card.training is not None
    assert card.training.unlabelled
    assert card.training.data == "scans without labels"
    text = (tmp_path / "mine" / "README.md").read_text("utf-8")
    assert "no label was looked at" in text
    assert "Not measured yet" in text
    assert load(tmp_path / "mine").card == card


def test_labelled_pictures_beside_it_only_test(folder: Path, labelled: Path) -> None:
    training, _, test = splits(recipe(), labelled, unlabelled=folder)
    assert training.source == "scans without labels"
    assert test is not None
    assert test.source == "made:evaluation"
    unnamed = recipe(data={"unlabelled": True, "validation_share": 0.25})
    assert splits(unnamed, labelled, unlabelled=folder).test is not None
    assert splits(unnamed, labelled).test is None


def test_a_recipe_that_needs_labels_says_so(folder: Path, labelled: Path) -> None:
    with pytest.raises(InvalidRecipe, match="'tiny' needs labels"):
        splits(tiny_recipe(), None, unlabelled=folder)
    with pytest.raises(InvalidDataset, match="give --data"):
        splits(tiny_recipe(), None)
    with pytest.raises(InvalidRecipe, match=r"sources that need none: .*umtra"):
        splits(recipe(tasks=tiny_recipe().tasks), labelled)
    with pytest.raises(ValidationError, match="choose by labels"):
        recipe(data={"unlabelled": True, "validation_groups": ["alphabet3"], "test_split": "evaluation"})


def test_too_few_pictures_to_hold_back_are_told_with_what_to_do(labelled: Path) -> None:
    few = recipe(validation={"ways": 20, "queries": 2})
    with pytest.raises(InvalidDataset, match=r"0\.25 of 48 pictures is 12.*asks for 20.*lower \[validation\] ways"):
        splits(few, labelled)


def test_a_folder_of_no_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InvalidDataset, match="holds no picture"):
        read_unlabelled(tmp_path, SPEC)


def test_the_command_asks_for_something_to_train_on(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["train", "omniglot-umtra", "--out", str(tmp_path / "x")])
    assert done.exit_code == 2
    assert "--unlabelled" in done.stderr
