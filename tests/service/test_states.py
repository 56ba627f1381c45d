"""Adapted states in memory."""

from dataclasses import replace

import torch

from meta_core.episode import State
from service.states import StateCache
from tests.service.test_store import classifier


def state(floats: int) -> State:
    return {"weight": torch.zeros(floats), "bias": torch.zeros(2, dtype=torch.half)}  # 4 bytes each, and 4 more


def test_the_state_unused_for_longest_makes_room() -> None:
    cache = StateCache(max_bytes=100)
    for number in range(3):
        cache.put(classifier(number), state(7))
    assert cache.get(classifier(0)) is not None
    cache.put(classifier(3), state(7))
    assert [number for number in range(4) if cache.get(classifier(number)) is not None] == [0, 2, 3]
    assert (cache.held_bytes, len(cache)) == (96, 3)


def test_room_is_made_by_bytes_not_by_count() -> None:
    cache = StateCache(max_bytes=100)
    for number in range(10):
        cache.put(classifier(number), state(1))
    assert len(cache) == 10
    cache.put(classifier(10), state(20))
    assert (cache.held_bytes, len(cache)) == (100, 3)


def test_a_state_over_the_budget_is_not_kept_and_drives_nobody_out() -> None:
    cache = StateCache(max_bytes=100)
    cache.put(classifier(0), state(7))
    cache.put(classifier(1), state(25))
    assert cache.get(classifier(1)) is None
    assert cache.get(classifier(0)) is not None


def test_a_state_of_another_revision_is_not_answered() -> None:
    cache = StateCache(max_bytes=100)
    first, second = (replace(classifier(0), revision=revision) for revision in (1, 2))
    cache.put(first, state(7))
    assert cache.get(second) is None
    cache.put(second, state(8))
    assert cache.get(first) is None
    assert (cache.held_bytes, len(cache)) == (36, 1)


def test_what_is_forgotten_gives_its_room_back() -> None:
    cache = StateCache(max_bytes=100)
    cache.put(classifier(0), state(7))
    cache.forget(classifier(0).id)
    cache.forget(classifier(1).id)
    assert (cache.held_bytes, len(cache), cache.get(classifier(0))) == (0, 0, None)


def test_hits_and_misses_are_counted() -> None:
    cache = StateCache(max_bytes=100)
    cache.put(classifier(0), state(7))
    for number in (0, 0, 1):
        cache.get(classifier(number))
    assert (cache.hits, cache.misses) == (2, 1)
