"""Labelled pictures in memory: consistent, renumbered when chosen from, and never in two splits."""

import dataclasses

import pytest
import torch

from meta_core.errors import InvalidDataset, OverlappingSplits
from meta_core.pictures import Pictures, check_disjoint
from tests.made_up import made_up_pictures

GROUPS = ("greek", "greek", "latin", "runes")


@pytest.fixture
def pictures() -> Pictures:
    """Four classes of 2, 3, 1 and 4 pictures in three groups."""
    return made_up_pictures([2, 3, 1, 4], groups=GROUPS)


def test_pictures_without_a_label_each_are_refused(pictures: Pictures) -> None:
    with pytest.raises(InvalidDataset, match="10 pictures came with 9 labels"):
        dataclasses.replace(pictures, labels=pictures.labels[:-1])


def test_classes_without_a_group_each_are_refused(pictures: Pictures) -> None:
    with pytest.raises(InvalidDataset, match="4 classes came with 3 groups"):
        dataclasses.replace(pictures, groups=GROUPS[:-1])


def test_a_class_that_occurs_twice_is_named(pictures: Pictures) -> None:
    with pytest.raises(InvalidDataset, match="alpha"):
        dataclasses.replace(pictures, classes=("alpha", "beta", "alpha", "gamma"))


def test_by_class_lists_each_classs_pictures(pictures: Pictures) -> None:
    assert [members.tolist() for members in pictures.by_class()] == [[0, 1], [2, 3, 4], [5], [6, 7, 8, 9]]


def test_by_class_finds_pictures_in_any_order() -> None:
    shuffled = dataclasses.replace(made_up_pictures([2, 2]), labels=torch.tensor([1, 0, 1, 0]))
    assert [members.tolist() for members in shuffled.by_class()] == [[1, 3], [0, 2]]


def test_chosen_classes_are_numbered_anew(pictures: Pictures) -> None:
    chosen = pictures.where(lambda name, group: name == "class01" or group == "runes", source="some")
    assert chosen.classes == ("class01", "class03")
    assert chosen.groups == ("greek", "runes")
    assert chosen.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert torch.equal(chosen.images, pictures.images[[2, 3, 4, 6, 7, 8, 9]])
    assert chosen.source == "some"
    assert chosen.licence == pictures.licence


def test_no_class_may_be_chosen(pictures: Pictures) -> None:
    nothing = pictures.where(lambda *_: False)
    assert nothing.classes == ()
    assert nothing.images.shape == (0, 1, 16, 16)
    assert nothing.by_class() == []


def test_groups_held_out_share_no_class_with_the_rest(pictures: Pictures) -> None:
    rest, held = pictures.hold_out(["greek"])
    assert rest.classes == ("class02", "class03")
    assert held.classes == ("class00", "class01")
    assert len(rest.images) + len(held.images) == len(pictures.images)
    check_disjoint(rest, held)


def test_a_group_that_does_not_occur_is_answered_with_those_that_do(pictures: Pictures) -> None:
    with pytest.raises(InvalidDataset, match=r"\['klingon'\].*greek.*latin.*runes"):
        pictures.hold_out(["greek", "klingon"])


def test_splits_that_share_a_class_are_refused(pictures: Pictures) -> None:
    other = pictures.where(lambda name, _: name == "class02", source="test")
    with pytest.raises(OverlappingSplits, match=r"share 1 classes.*class02"):
        check_disjoint(pictures, other)


def test_splits_that_share_a_picture_under_another_name_are_refused(pictures: Pictures) -> None:
    first, second = pictures.hold_out(["runes"])
    copied = dataclasses.replace(second, images=torch.cat([first.images[:1], second.images[1:]]))
    with pytest.raises(OverlappingSplits, match=r"1 pictures.*class03"):
        check_disjoint(first, copied)


def test_rotations_are_further_classes_of_the_same_group(pictures: Pictures) -> None:
    turned = pictures.with_rotations()
    assert len(turned.classes) == len(set(turned.classes)) == 16
    assert turned.groups == GROUPS * 4
    assert "rotations" in turned.source
    for turn in range(4):
        for number in range(4):
            found = turned.images[turned.labels == number + 4 * turn]
            assert torch.equal(found, torch.rot90(pictures.images[pictures.labels == number], turn, dims=(-2, -1)))


def test_rotations_of_pictures_that_are_not_square_are_refused(pictures: Pictures) -> None:
    oblong = dataclasses.replace(pictures, images=pictures.images[..., :-2])
    with pytest.raises(InvalidDataset, match="square"):
        oblong.with_rotations()
