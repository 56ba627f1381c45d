"""Tasks without labels: a class is one picture, and what is asked are changed copies of it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from meta_core.errors import InvalidDataset, UnknownName
from meta_core.learner import Learner
from meta_core.pictures import Pictures
from meta_core.preprocess import normalize
from meta_core.registry import TASKS
from meta_core.splits import needs_labels
from meta_core.tasks.umtra import Umtra
from tests.made_up import SPEC, made_up_pictures, small_learner

BARELY = {"shift": 0.001}
"""Changes so small that a copy is still nearest to its picture."""


@pytest.fixture
def pictures() -> Pictures:
    return made_up_pictures([3] * 10)


def tasks(pictures: Pictures, **options: Any) -> Umtra:
    source: Umtra = TASKS.build("umtra", pictures=pictures, spec=SPEC, **options)
    return source


def nearest(inputs: Tensor, pictures: Pictures) -> list[int]:
    known = normalize(pictures.images, SPEC).flatten(1)
    return torch.cdist(inputs.flatten(1), known).argmin(1).tolist()


def test_a_class_is_one_picture_and_no_two_classes_share_it(pictures: Pictures, generator: torch.Generator) -> None:
    episode = tasks(pictures, ways=(6, 6), shots=(2, 2), queries=3, augmentation=BARELY).sample(4, generator)
    assert episode.support.inputs.shape == (4, 12, 1, 16, 16)
    assert episode.query.inputs.shape == (4, 18, 1, 16, 16)
    for task in range(4):
        shown = nearest(episode.support.inputs[task], pictures)
        asked = nearest(episode.query.inputs[task], pictures)
        assert shown[::2] == shown[1::2]
        assert len(set(shown)) == 6
        of_class = dict(enumerate(shown[::2]))
        assert asked == [of_class[way] for way in episode.query.targets[task].argmax(-1).tolist()]


def test_the_first_example_is_the_picture_itself_where_that_is_asked_for(
    pictures: Pictures, generator: torch.Generator
) -> None:
    known = normalize(pictures.images, SPEC)
    for plain in (False, True):
        episode = tasks(pictures, shots=(2, 2), plain_support=plain, augmentation={"warp": 0.3}).sample(1, generator)
        same = [bool((known == shown).flatten(1).all(1).any()) for shown in episode.support.inputs[0]]
        assert same == [plain, False] * 5
        assert not any((known == asked).flatten(1).all(1).any() for asked in episode.query.inputs[0])


def test_labels_are_not_looked_at(pictures: Pictures) -> None:
    labelled, mixed = (
        tasks(Pictures(**{**vars(pictures), "labels": labels}), queries=2).sample(3, torch.Generator().manual_seed(5))
        for labels in (pictures.labels, pictures.labels.flip(0))
    )
    assert torch.equal(labelled.support.inputs, mixed.support.inputs)
    assert torch.equal(labelled.query.targets, mixed.query.targets)
    assert not needs_labels("umtra")
    assert needs_labels("pictures")


def test_the_generator_alone_decides(pictures: Pictures) -> None:
    before, source = torch.get_rng_state(), tasks(pictures, ways=(2, 8), shots=(1, 3))
    first, again = (source.sample(3, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.query.inputs, again.query.inputs)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["protonet", "maml"])
def test_it_feeds_learners_unchanged(pictures: Pictures, generator: torch.Generator, name: str) -> None:
    learner: Learner = small_learner(name, shape=SPEC.shape).train()
    episode = tasks(pictures, ways=(4, 4), queries=2).sample(1, generator)
    support, query = episode.support, episode.query
    task = type(episode)(
        support._replace(
            inputs=learner.encode(support.inputs[0]), targets=support.targets[0], weights=support.weights[0]
        ),
        query._replace(inputs=learner.encode(query.inputs[0]), targets=query.targets[0]),
    )
    learner.meta_loss(task, generator=generator, progress=0.0).backward()
    moved = [parameter.grad.abs().sum() for parameter in learner.parameters() if parameter.grad is not None]
    assert moved
    assert torch.stack(moved).sum() > 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ways": (40, 40)}, InvalidDataset, "30 pictures; tasks of 40 ways need as many"),
        ({"augmentation": {}}, InvalidDataset, "changes nothing"),
        ({"shots": (0, 1)}, UnknownName, "smallest of at least 1"),
        ({"ways": (1, 4)}, UnknownName, "smallest of at least 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    pictures: Pictures, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tasks(pictures, **options)
