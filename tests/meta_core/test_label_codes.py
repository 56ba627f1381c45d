"""Classes at places among a fixed number of outputs."""

import pytest
import torch

from meta_core import label_codes
from meta_core.episode import Episode, SupportSet
from meta_core.errors import InvalidSupportSet
from tests.learners.made_up_tasks import sample


def test_the_class_that_is_shown_first_has_the_first_place() -> None:
    shown = torch.eye(4)[[2, 2, 0, 3, 1, 0]]
    assert label_codes.by_appearance(shown).tolist() == [1, 3, 0, 2]


def test_a_code_is_the_place_of_the_examples_class() -> None:
    targets, places = torch.eye(3)[[0, 2, 1]], torch.tensor([4, 0, 2])
    assert label_codes.codes(targets, places, 5).tolist() == [[0, 0, 0, 0, 1], [0, 0, 1, 0, 0], [1, 0, 0, 0, 0]]


def test_padding_is_left_out_and_the_order_kept() -> None:
    rows = torch.arange(4.0)[:, None]
    kept = label_codes.without_padding(SupportSet(rows, torch.eye(4), torch.tensor([1.0, 0, 1, 1])))
    assert kept.inputs.flatten().tolist() == [0, 2, 3]
    assert kept.targets.argmax(-1).tolist() == [0, 2, 3]


def drawn() -> Episode:
    return sample(3, torch.Generator().manual_seed(0), ways=4, shots=2, queries=1)


def test_dealing_changes_the_order_alone_and_of_each_task_on_its_own() -> None:
    episode = drawn()
    dealt, places = label_codes.dealt(episode, 10, torch.Generator().manual_seed(0))
    orders = []
    for task in range(3):
        before, after = episode.support.inputs[task].flatten(1), dealt.support.inputs[task].flatten(1)
        order = torch.cdist(after, before).argmin(1)
        assert torch.equal(after, before[order])
        assert torch.equal(dealt.support.targets[task], episode.support.targets[task][order])
        orders.append(order.tolist())
        assert len(set(places[task].tolist())) == 4
        assert set(places[task].tolist()) <= set(range(10))
    assert sorted(orders[0]) == list(range(8))
    assert len({tuple(order) for order in orders}) == 3
    assert all(torch.equal(a, b) for a, b in zip(dealt.query, episode.query, strict=True))


def test_more_ways_than_places_are_refused() -> None:
    with pytest.raises(InvalidSupportSet, match="4 ways came; this learner tells at most 3"):
        label_codes.dealt(drawn(), 3, torch.Generator())
