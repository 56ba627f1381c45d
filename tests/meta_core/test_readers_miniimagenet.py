"""miniImageNet on disk: as files in a folder or zip, or with a user's csv lists."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meta_core.datasets import default_split, read_pictures
from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures, check_disjoint
from meta_core.preprocess import InputSpec
from tests.made_up import SPEC
from tests.meta_core.drawing import encode

CLASSES = {"train": ["n03", "n01"], "val": ["n04"], "test": ["n05", "n02"]}
GREY = {wnid: 40 * number for number, wnid in enumerate(["n01", "n02", "n03", "n04", "n05"])}
NAMES = "wnid\tsplit\tname\nn01\ttrain\thouse finch, linnet\nn02\ttest\tcrate\n"


def picture(wnid: str, number: int) -> bytes:
    return encode(np.full((20, 20), GREY[wnid] + number, np.uint8), "WEBP", lossless=True)


def as_files(root: Path) -> Path:
    """`split/wnid/file`, two pictures a class."""
    for split, wnids in CLASSES.items():
        for wnid in wnids:
            (root / split / wnid).mkdir(parents=True)
            for number in range(2):
                (root / split / wnid / f"{wnid}{number}.webp").write_bytes(picture(wnid, number))
    return root


def as_zip(root: Path) -> Path:
    return Path(shutil.make_archive(str(root), "zip", as_files(root)))


def with_lists(root: Path) -> Path:
    """`images/` and three lists, whose rows are in no order."""
    (root / "images").mkdir(parents=True)
    for split, wnids in CLASSES.items():
        rows = [(f"{wnid}{number}.webp", wnid) for number in (1, 0) for wnid in wnids]
        for name, wnid in rows:
            (root / "images" / name).write_bytes(picture(wnid, int(name[3])))
        (root / f"{split}.csv").write_text("filename,label\n" + "".join(f"{name},{wnid}\n" for name, wnid in rows))
    return root


LAYOUTS = pytest.mark.parametrize("layout", [as_files, as_zip, with_lists])


def greys(pictures: Pictures) -> list[int]:
    return [int(image[0, 0, 0]) for image in pictures.images]


@LAYOUTS
def test_every_layout_gives_the_same_pictures_in_the_same_order(tmp_path: Path, layout: Any) -> None:
    pictures = read_pictures(layout(tmp_path / "mini-ImageNet"), SPEC, split="train")
    assert pictures.classes == pictures.groups == ("n01", "n03")
    assert pictures.labels.tolist() == [0, 0, 1, 1]
    assert greys(pictures) == [0, 1, 80, 81]
    assert pictures.source == "miniimagenet:train"
    assert "non-commercial research only" in pictures.licence


@LAYOUTS
def test_all_splits_together_are_all_classes(tmp_path: Path, layout: Any) -> None:
    path = layout(tmp_path / "miniimagenet")
    assert read_pictures(path, SPEC, split=None).classes == ("n01", "n02", "n03", "n04", "n05")
    assert default_split(path) == "test"


@LAYOUTS
def test_a_split_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path, layout: Any) -> None:
    with pytest.raises(InvalidDataset, match="no split 'background'; it has: train, val, test"):
        read_pictures(layout(tmp_path / "miniimagenet"), SPEC, split="background")


def test_lists_are_enough_whatever_the_folder_is_called(tmp_path: Path) -> None:
    assert greys(read_pictures(with_lists(tmp_path / "downloads"), SPEC, split="val")) == [120, 121]


def test_a_folder_of_another_name_is_the_users_own(tmp_path: Path) -> None:
    pictures = read_pictures(as_files(tmp_path / "birds"), SPEC, split="train")
    assert (pictures.source, pictures.licence) == ("birds:train", "unknown")


@pytest.mark.parametrize("place", ["", "miniimagenet"], ids=["beside", "inside"])
def test_classes_are_called_by_their_names_where_a_table_has_them(tmp_path: Path, place: str) -> None:
    path = as_files(tmp_path / "miniimagenet")
    (tmp_path / place / "miniimagenet_classes.tsv").write_text(NAMES)
    assert read_pictures(path, SPEC, split="train").classes == ("house finch (n01)", "n03")


def twice(path: Path) -> None:
    """A training picture is also a validation picture, and another is of the same size."""
    pair = [file for file in path.rglob("*.webp") if file.name in ("n030.webp", "n041.webp")]
    content = {file.name: file for file in pair}
    content["n041.webp"].write_bytes(content["n030.webp"].read_bytes())


@LAYOUTS
def test_a_picture_that_a_later_split_has_too_is_left_out(tmp_path: Path, layout: Any) -> None:
    path = (with_lists if layout is with_lists else as_files)(tmp_path / "miniimagenet")
    twice(path)
    if layout is as_zip:
        path = Path(shutil.make_archive(str(path), "zip", path))
    training, validation = (read_pictures(path, SPEC, split=split) for split in ("train", "val"))
    assert greys(training) == [0, 1, 81]
    assert training.labels.tolist() == [0, 0, 1]
    assert greys(validation) == [120, 80]
    check_disjoint(training, validation)


def test_a_file_that_a_list_names_and_the_folder_lacks_is_named(tmp_path: Path) -> None:
    path = with_lists(tmp_path / "mini")
    (path / "images" / "n040.webp").unlink()
    with pytest.raises(InvalidDataset, match=r"val\.csv lists 1 files that are not there \(images/n040\.webp"):
        read_pictures(path, SPEC, split="val")


def test_a_list_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = with_lists(tmp_path / "mini")
    (path / "val.csv").write_text("file;class\n")
    with pytest.raises(InvalidDataset, match=r"val\.csv has the columns file;class; filename, label is missing"):
        read_pictures(path, SPEC, split="val")


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    path = as_files(tmp_path / "miniimagenet")
    (path / "test" / "n02" / "n020.webp").write_text("not one")
    with pytest.raises(InvalidDataset, match=r"miniimagenet: test/n02/n020\.webp.*expected JPEG"):
        read_pictures(path, SPEC, split="test")
    assert len(read_pictures(path, SPEC, split="train").images) == 4


def test_a_folder_without_splits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "miniimagenet").mkdir()
    with pytest.raises(InvalidDataset, match="no split 'test'; it has: none"):
        read_pictures(tmp_path / "miniimagenet", SPEC, split="test")
    with pytest.raises(InvalidDataset, match="holds no picture of miniImageNet"):
        read_pictures(tmp_path / "miniimagenet", SPEC, split=None)


@pytest.mark.data
def test_the_real_zip_has_its_published_classes(data_folder: Path) -> None:
    small = InputSpec(channels=3, height=8, width=8)
    pictures = read_pictures(data_folder / "miniimagenet.zip", small, split="val")
    assert pictures.images.shape == (16 * 600, 3, 8, 8)
    assert pictures.labels.bincount().tolist() == [600] * 16
    assert "goose (n01855672)" in pictures.classes
