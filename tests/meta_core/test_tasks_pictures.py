"""Tasks out of labelled pictures: what is in one, and what cannot be made."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from meta_core.episode import Episode
from meta_core.errors import InvalidDataset, MetaCoreError
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec, normalize
from meta_core.registry import TASKS
from meta_core.tasks.pictures import PictureTasks
from tests.made_up import SPEC, made_up_pictures

COUNTS = [8, 9, 10, 8, 8, 12]
GROUPS = ("a", "a", "a", "b", "b", "c")


@pytest.fixture
def pictures() -> Pictures:
    return made_up_pictures(COUNTS, groups=GROUPS)


def tasks(pictures: Pictures, **options: Any) -> PictureTasks:
    source: PictureTasks = TASKS.build("pictures", pictures=pictures, spec=SPEC, **options)
    return source


class Lookup:
    """Finds which picture, class and quarter turn an input was made from."""

    def __init__(self, pictures: Pictures) -> None:
        inputs = normalize(pictures.images, SPEC)
        self._known = {
            self._key(torch.rot90(image, turn, dims=(-2, -1))): (index, int(pictures.labels[index]), turn)
            for index, image in enumerate(inputs)
            for turn in range(4)
        }

    def __call__(self, inputs: Tensor) -> list[tuple[int, int, int]]:
        return [self._known[self._key(image)] for image in inputs]

    @staticmethod
    def _key(image: Tensor) -> bytes:
        return (image * 1000).round().to(torch.int32).numpy().tobytes()


def test_shapes_are_those_asked_for(pictures: Pictures, generator: torch.Generator) -> None:
    episode = tasks(pictures, ways=(4, 4), shots=(3, 3), queries=5).sample(7, generator)
    assert episode.support.inputs.shape == (7, 12, 1, 16, 16)
    assert episode.support.targets.shape == (7, 12, 4)
    assert episode.support.weights.shape == (7, 12)
    assert episode.query.inputs.shape == (7, 20, 1, 16, 16)
    assert episode.query.targets.shape == (7, 20, 4)


def test_targets_are_one_hot_with_equal_shots(pictures: Pictures, generator: torch.Generator) -> None:
    episode = tasks(pictures, ways=(4, 4), shots=(3, 3), queries=5).sample(2, generator)
    for targets, each in ((episode.support.targets, 3), (episode.query.targets, 5)):
        assert ((targets == 0) | (targets == 1)).all()
        assert (targets.sum(-1) == 1).all()
        assert (targets.sum(-2) == each).all()
    assert (episode.support.weights == 1).all()


def test_a_class_of_a_task_is_one_class_and_no_picture_occurs_twice(
    pictures: Pictures, generator: torch.Generator
) -> None:
    look_up = Lookup(pictures)
    episode = tasks(pictures, ways=(4, 4), shots=(3, 3), queries=5).sample(10, generator)
    for task in range(10):
        support, query = look_up(episode.support.inputs[task]), look_up(episode.query.inputs[task])
        everything = [index for index, _, _ in support + query]
        assert len(set(everything)) == len(everything)
        of_class = {label: {way} for (_, label, _), way in zip(support, ways_of(episode, task), strict=True)}
        assert len(of_class) == 4
        query_ways = episode.query.targets[task].argmax(-1).tolist()
        assert all(of_class[label] == {way} for (_, label, _), way in zip(query, query_ways, strict=True))
        assert all(turn == 0 for _, _, turn in support + query)


def ways_of(episode: Episode, task: int) -> list[int]:
    ways: list[int] = episode.support.targets[task].argmax(-1).tolist()
    return ways


def test_ways_and_shots_take_every_value_of_their_ranges(pictures: Pictures, generator: torch.Generator) -> None:
    source = tasks(pictures, ways=(2, 5), shots=(1, 3), queries=2)
    seen: Counter[tuple[int, int]] = Counter()
    for _ in range(150):
        targets = source.sample(2, generator).support.targets
        seen[targets.shape[2], targets.shape[1] // targets.shape[2]] += 1
    assert set(seen) == {(ways, shots) for ways in range(2, 6) for shots in range(1, 4)}


def test_the_generator_alone_decides(pictures: Pictures) -> None:
    source = tasks(
        pictures, ways=(2, 5), shots=(1, 3), queries=2, rotations=True, within_group=0.5, augmentation={"shift": 0.2}
    )
    first, again, other = (source.sample(3, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first.support, again.support, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first.query, again.query, strict=True))
    assert first.query.inputs.shape != other.query.inputs.shape or not torch.equal(
        first.query.inputs, other.query.inputs
    )


def test_the_global_generator_is_left_alone(pictures: Pictures, generator: torch.Generator) -> None:
    before = torch.get_rng_state()
    tasks(pictures, rotations=True, within_group=0.5, queries=2, augmentation={"shift": 0.2}).sample(3, generator)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_pictures_are_left_as_they_were_read(pictures: Pictures, generator: torch.Generator) -> None:
    before = pictures.images.clone()
    tasks(pictures, rotations=True, queries=2, augmentation={"shift": 0.2}).sample(3, generator)
    assert torch.equal(pictures.images, before)


def test_a_turned_class_is_a_further_class(pictures: Pictures, generator: torch.Generator) -> None:
    look_up = Lookup(pictures)
    # 24 classes of 6: every class in every turn, each once.
    episode = tasks(pictures, ways=(24, 24), shots=(2, 2), queries=1, rotations=True).sample(1, generator)
    support, query = look_up(episode.support.inputs[0]), look_up(episode.query.inputs[0])
    kinds = Counter((label, turn) for _, label, turn in support)
    assert kinds == {(label, turn): 2 for label in range(6) for turn in range(4)}
    assert [(label, turn) for _, label, turn in query] == [(label, turn) for _, label, turn in support[::2]]


def test_tasks_within_a_group_take_whole_groups(pictures: Pictures, generator: torch.Generator) -> None:
    look_up = Lookup(pictures)
    source = tasks(pictures, ways=(2, 2), shots=(1, 1), queries=1, within_group=1.0)
    groups: Counter[frozenset[str]] = Counter()
    for _ in range(60):
        found = look_up(source.sample(1, generator).support.inputs[0])
        groups[frozenset(GROUPS[label] for _, label, _ in found)] += 1
    # Groups a and b hold two classes; c holds one, to which one of another group is added.
    assert set(groups) == {frozenset(names) for names in ("a", "b", "ac", "bc")}


def test_a_share_of_the_tasks_is_within_a_group(pictures: Pictures, generator: torch.Generator) -> None:
    look_up = Lookup(pictures)

    def same_group(share: float) -> float:
        episode = tasks(pictures, ways=(2, 2), shots=(1, 1), queries=1, within_group=share).sample(300, generator)
        of_one = [len({GROUPS[label] for _, label, _ in look_up(task)}) == 1 for task in episode.support.inputs]
        return sum(of_one) / 300

    # At random 4 of the 15 pairs of classes are of one group; within groups, 2 of 3 tasks and no pair of c.
    assert same_group(0) == pytest.approx(4 / 15, abs=0.1)
    assert same_group(1) == pytest.approx(2 / 3, abs=0.1)
    assert same_group(0) < same_group(0.5) < same_group(1)


def test_a_group_of_few_classes_goes_on_with_its_turns(pictures: Pictures, generator: torch.Generator) -> None:
    look_up = Lookup(pictures)
    source = tasks(pictures, ways=(20, 20), shots=(1, 1), queries=1, rotations=True, within_group=1.0)
    found = look_up(source.sample(1, generator).support.inputs[0])
    assert len({(label, turn) for _, label, turn in found}) == 20


def test_augmented_pictures_are_not_those_read(pictures: Pictures, generator: torch.Generator) -> None:
    plain = tasks(pictures, queries=2).sample(1, torch.Generator().manual_seed(0))
    moved = tasks(pictures, queries=2, augmentation={"shift": 0.3}).sample(1, torch.Generator().manual_seed(0))
    assert moved.query.inputs.shape == plain.query.inputs.shape
    assert not torch.allclose(moved.query.inputs, plain.query.inputs, atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": (2, 7), "queries": 1}, "6 classes; tasks of 7 ways"),
        ({"ways": (2, 25), "queries": 1, "rotations": True}, "24 classes; tasks of 25 ways"),
        ({"ways": (2, 2), "shots": (1, 5), "queries": 4}, "8 pictures; 5 shots and 4 queries need 9"),
    ],
)
def test_too_little_data_is_counted_in_the_message(pictures: Pictures, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDataset, match=message):
        tasks(pictures, **options)


@pytest.mark.parametrize(
    "options", [{"ways": (5, 2)}, {"ways": (0, 2)}, {"ways": (1, 2)}, {"shots": (0, 1)}, {"shots": (3, 1)}]
)
def test_a_range_that_is_none_is_refused_before_training(pictures: Pictures, options: dict[str, Any]) -> None:
    with pytest.raises(MetaCoreError, match=next(iter(options))):
        tasks(pictures, queries=1, **options)


def test_rotations_need_square_pictures() -> None:
    flat = made_up_pictures(COUNTS)
    flat = Pictures(flat.images[..., :12, :], flat.labels, flat.classes, flat.groups, "flat")
    spec = InputSpec(channels=1, height=12, width=16)
    with pytest.raises(InvalidDataset, match="square"):
        TASKS.build("pictures", pictures=flat, spec=spec, rotations=True, queries=1)


def test_with_fixed_labels_a_class_is_never_called_anything_else(generator: torch.Generator) -> None:
    """Each class's pictures are told by their brightness: what label came with it, over many tasks."""
    pictures = made_up_pictures([4] * 7)
    for number in range(7):
        pictures.images[pictures.labels == number] = 30 * number
    made = tasks(pictures, ways=[3, 3], shots=[1, 1], queries=1, fixed_labels=True)
    called: dict[int, set[int]] = {number: set() for number in range(7)}
    for _ in range(40):
        support = made.sample(2, generator).support
        brightness = ((support.inputs.mean((2, 3, 4)) * SPEC.std[0] + SPEC.mean[0]) * 255 / 30).round().long()
        labels = support.targets.argmax(-1)
        for number, label in zip(brightness.flatten().tolist(), labels.flatten().tolist(), strict=True):
            called[number].add(label)
    assert called == {number: {number % 3} for number in range(7)}


def test_fixed_labels_need_one_number_of_ways() -> None:
    for options in ({"ways": [2, 3]}, {"ways": [2, 2], "within_group": 0.5}):
        with pytest.raises(MetaCoreError, match="fixed_labels needs one number of ways"):
            tasks(made_up_pictures([4] * 5), queries=1, fixed_labels=True, **options)
