"""Batches of all classes at once: what is in one, and that nothing is left out."""

from typing import Any

import pytest
import torch

from meta_core.errors import InvalidDataset, UnknownName
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec
from meta_core.registry import TASKS
from meta_core.tasks.all_classes import AllClasses
from tests.made_up import SPEC, made_up_pictures


def batches(pictures: Pictures, **options: Any) -> AllClasses:
    source: AllClasses = TASKS.build("all_classes", pictures=pictures, spec=SPEC, **options)
    return source


def shades(counts: list[int]) -> Pictures:
    """Pictures whose brightness tells their class, and whose brighter left half tells that they are upright."""
    pictures = made_up_pictures(counts)
    for number in range(len(counts)):
        pictures.images[pictures.labels == number] = 20 * number
    pictures.images[..., :8] += 10
    return pictures


def test_a_batch_is_a_query_set_with_targets_among_all_classes(generator: torch.Generator) -> None:
    episode = batches(made_up_pictures([2, 3, 4]), batch=7).sample(5, generator)
    assert episode.query.inputs.shape == (5, 7, *SPEC.shape)
    assert episode.query.targets.shape == (5, 7, 3)
    assert (episode.query.targets.sum(-1) == 1).all()


def test_there_is_no_example_to_adapt_to(generator: torch.Generator) -> None:
    support = batches(made_up_pictures([2, 3, 4]), batch=7).sample(5, generator).support
    assert [tuple(tensor.shape) for tensor in support] == [(5, 0, *SPEC.shape), (5, 0, 3), (5, 0)]


def test_a_picture_has_the_target_of_its_class_and_every_class_comes(generator: torch.Generator) -> None:
    query = batches(shades([1, 2, 3, 4, 5]), batch=50).sample(4, generator).query
    brightness = (query.inputs * SPEC.std[0] + SPEC.mean[0]).mean((2, 3, 4)) * 255
    assert torch.equal(query.targets.argmax(-1), ((brightness - 5) / 20).round().long())
    assert query.targets.sum((0, 1)).all()


def test_a_turned_class_is_a_further_class_with_a_number_of_its_own(generator: torch.Generator) -> None:
    query = batches(shades([1, 1, 1]), batch=100, rotations=True).sample(1, generator).query
    assert query.targets.shape == (1, 100, 12)
    assert query.targets.sum((0, 1)).all()
    for picture, number in zip(query.inputs[0], query.targets[0].argmax(-1).tolist(), strict=True):
        upright = torch.rot90(picture, -(number // 3), dims=(-2, -1))
        assert (upright[..., :8] > upright[..., 8:]).all()


def test_the_generator_alone_decides() -> None:
    before, source = torch.get_rng_state(), batches(made_up_pictures([3] * 4), augmentation={"shift": 0.2})
    first, again, other = (source.sample(2, torch.Generator().manual_seed(seed)).query for seed in (3, 3, 4))
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.inputs, other.inputs)
    assert torch.equal(torch.get_rng_state(), before)


def test_augmented_pictures_are_not_those_read() -> None:
    pictures = made_up_pictures([3] * 4)
    plain, moved = (
        batches(pictures, augmentation=changes).sample(1, torch.Generator().manual_seed(0)).query
        for changes in ({}, {"shift": 0.3})
    )
    assert torch.equal(moved.targets, plain.targets)
    assert not torch.allclose(moved.inputs, plain.inputs, atol=0.1)


def test_rotations_need_square_pictures() -> None:
    square = made_up_pictures([3] * 4)
    flat = Pictures(square.images[..., :12, :], square.labels, square.classes, square.groups, "flat")
    with pytest.raises(InvalidDataset, match="square"):
        TASKS.build("all_classes", pictures=flat, spec=InputSpec(channels=1, height=12, width=16), rotations=True)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(UnknownName, match="batch"):
        batches(made_up_pictures([3] * 4), batch=0)
