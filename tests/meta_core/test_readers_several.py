"""Several data sets as one."""

import os
from pathlib import Path

import pytest
from PIL import Image

from meta_core.datasets import default_split, read_pictures
from meta_core.errors import InvalidDataset
from meta_core.preprocess import InputSpec

SPEC = InputSpec(channels=3, height=8, width=8)


def folder(path: Path, *classes: str) -> Path:
    for number, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for copy in range(2):
            Image.new("RGB", (8, 8), (40 * number, 9 * copy, 0)).save(path / name / f"{copy}.png")
    return path


def joined(*paths: Path) -> Path:
    return Path(os.pathsep.join(map(str, paths)))


def test_the_classes_of_all_sources_are_numbered_one_after_the_other(tmp_path: Path) -> None:
    path = joined(folder(tmp_path / "one", "a", "b"), folder(tmp_path / "two", "c__red", "c__blue"))
    pictures = read_pictures(path, SPEC, split=None)
    assert pictures.classes == ("a", "b", "c__blue", "c__red")
    assert pictures.groups == ("a", "b", "c", "c")
    assert pictures.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert pictures.source == "one + two"
    assert default_split(path) is None


def test_a_class_of_two_sources_is_refused(tmp_path: Path) -> None:
    path = joined(folder(tmp_path / "one", "a"), folder(tmp_path / "two", "a"))
    with pytest.raises(InvalidDataset, match="classes occur twice: a"):
        read_pictures(path, SPEC, split=None)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"two\.zip does not exist"):
        read_pictures(joined(folder(tmp_path / "one", "a"), tmp_path / "two.zip"), SPEC, split=None)
