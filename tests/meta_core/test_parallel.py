"""Threads with a copy of the modules each: the same parameters, the same answers, the caller's grad mode."""

import threading
import time

import pytest
import torch

from meta_core.batching import adapt_many, predict_many
from meta_core.episode import SupportSet
from meta_core.learner import AdaptOptions, Learner
from meta_core.parallel import Workers, replica
from tests.learners.made_up_tasks import encoded_task
from tests.made_up import small_learner

OPTIONS = AdaptOptions()


@pytest.fixture
def learner() -> Learner:
    return small_learner("maml", steps=2)


def tasks(learner: Learner, count: int) -> list[tuple[SupportSet, torch.Tensor]]:
    rng = torch.Generator().manual_seed(0)
    return [encoded_task(learner, [1 + i % 3, 2, 1 + i % 2], rng, queries=1 + i) for i in range(count)]


def test_a_copy_has_modules_of_its_own_around_the_same_parameters(learner: Learner) -> None:
    copied = replica(learner)
    pairs = list(zip(learner.modules(), copied.modules(), strict=True))
    assert all(one is not other for one, other in pairs)
    own, other = dict(learner.named_parameters()), dict(copied.named_parameters())
    assert own.keys() == other.keys()
    assert all(own[name] is other[name] for name in own)
    assert all(a is b for a, b in zip(learner.buffers(), copied.buffers(), strict=True))


def test_many_tasks_in_threads_get_what_each_alone_gets(learner: Learner) -> None:
    own, workers = tasks(learner, 12), Workers(learner, count=3)
    states = adapt_many(learner, [support for support, _ in own], options=OPTIONS, workers=workers)
    logits = predict_many(learner, states, [query for _, query in own], workers=workers)
    workers.close()
    for (support, query), state, rows in zip(own, states, logits, strict=True):
        alone = learner.adapt(support, options=OPTIONS)
        assert all(torch.equal(alone[name], state[name]) for name in alone)
        torch.testing.assert_close(rows, learner.predict(alone, query), rtol=1e-5, atol=1e-5)


def test_the_order_is_the_items_whoever_is_done_first(learner: Learner) -> None:
    def slow_first(_: Learner, item: int) -> int:
        time.sleep(0.05 if item == 0 else 0)
        return item

    workers = Workers(learner, count=2)
    assert workers.map(slow_first, range(8)) == list(range(8))
    workers.close()


def test_threads_work_at_the_same_time_and_never_with_the_same_copy(learner: Learner) -> None:
    meeting = threading.Barrier(2, timeout=20)
    seen: list[int] = []

    def meet(own: Learner, _: int) -> None:
        seen.append(id(own))
        meeting.wait()

    workers = Workers(learner, count=2)
    workers.map(meet, range(2))
    workers.close()
    assert len(set(seen)) == 2


def test_a_thread_computes_with_one_core_and_the_caller_keeps_its_own(learner: Learner) -> None:
    before, workers = torch.get_num_threads(), Workers(learner, count=2)
    assert workers.map(lambda *_: torch.get_num_threads(), range(4)) == [1] * 4
    workers.close()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("grad", [True, False])
def test_the_callers_grad_mode_holds_in_the_threads(learner: Learner, grad: bool) -> None:
    workers = Workers(learner, count=2)
    with torch.set_grad_enabled(grad):
        assert workers.map(lambda *_: torch.is_grad_enabled(), range(3)) == [grad] * 3
    workers.close()


def test_an_error_in_a_thread_reaches_the_caller(learner: Learner) -> None:
    def fail(_: Learner, item: int) -> None:
        raise ValueError(f"task {item}")

    workers = Workers(learner, count=2)
    with pytest.raises(ValueError, match="task 0"):
        workers.map(fail, range(3))
    assert workers.map(lambda _, item: item, [1, 2]) == [1, 2], "and the threads go on"
    workers.close()
