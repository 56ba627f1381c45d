"""What a meta-step takes is measured before it is taken, and it is cut into chunks that fit."""

import pytest
import torch

from meta_core import meta_step
from meta_core.learner import Learner
from meta_core.meta_step import ChunkPlan, graph_bytes, meta_gradient, plan_chunk
from meta_core.parallel import Workers
from tests.learners.made_up_tasks import sample
from tests.made_up import small_learner


@pytest.fixture
def learner() -> Learner:
    return small_learner("maml", steps=3).train()


def bytes_of(learner: Learner, tasks: int, **shape: int) -> int:
    episode = sample(tasks, torch.Generator().manual_seed(0), **shape)
    return graph_bytes(learner, episode, precision="fp32")


def test_a_graph_grows_with_tasks_examples_and_steps(learner: Learner) -> None:
    one = bytes_of(learner, 1)
    assert bytes_of(learner, 3) == pytest.approx(3 * one, rel=0.02)
    assert bytes_of(learner, 1, shots=10) > 1.4 * one
    assert bytes_of(small_learner("maml", steps=6).train(), 1) > 1.5 * one


def test_the_second_order_keeps_more_than_the_first(learner: Learner) -> None:
    assert bytes_of(learner, 1) > 1.5 * bytes_of(small_learner("fomaml", steps=3).train(), 1)


def test_what_is_measured_holds_the_pictures_features_at_least() -> None:
    """A ProtoNet's backward needs the input of every layer: 50 pictures, 8 channels of 28 × 28 floats in the first."""
    assert bytes_of(small_learner("protonet").train(), 1) > 50 * 8 * 28 * 28 * 4


def test_measuring_leaves_the_learner_and_the_random_state_alone() -> None:
    learner = small_learner("protonet").train()
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    state = torch.get_rng_state()
    bytes_of(learner, 2)
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.state_dict().items())
    assert all(parameter.grad is None for parameter in learner.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_chunk_is_what_fits_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, episode = small_learner("protonet").train(), sample(6, torch.Generator().manual_seed(0))
    one = bytes_of(learner, 1)
    for free, expected in ((100 * one, 6), (2 * one * 3 + 100, 3), (10, 1)):
        monkeypatch.setattr(meta_step, "free_bytes", lambda _, free=free: free)
        assert plan_chunk(learner, episode, precision="fp32", workers=None).tasks == expected


def test_what_a_gpu_would_stack_is_measured_too(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measuring hooks and the gradients of stacked tasks do not go together."""
    expected = bytes_of(learner, 2)
    monkeypatch.setattr(meta_step, "vmaps_tasks", lambda *_: True)
    assert bytes_of(learner, 2) == expected


def test_a_thread_has_one_task_in_memory_at_a_time(learner: Learner) -> None:
    workers = Workers(learner, count=2)
    episode = sample(6, torch.Generator().manual_seed(0))
    assert plan_chunk(learner, episode, precision="fp32", workers=workers).tasks == 2
    workers.close()


def test_the_plan_says_what_a_step_would_take_and_what_is_done() -> None:
    line = ChunkPlan(tasks=4, task_bytes=50 * 2**20, free=1000 * 2**20).describe(of=32)
    for part in ("50 MiB", "32", "1,600 MiB", "1,000 MiB", "4 at a time", "200 MiB"):
        assert part in line


def test_bf16_is_near_and_not_equal(learner: Learner) -> None:
    episode, gradients = sample(2, torch.Generator().manual_seed(0)), []
    workers = Workers(learner, count=1)
    for precision in ("fp32", "bf16"):
        meta_gradient(
            learner,
            episode,
            chunk=1,
            precision=precision,
            generator=torch.Generator(),
            progress=1.0,
            workers=workers,
        )
        gradients.append(torch.cat([p.grad.flatten() for p in learner.parameters() if p.grad is not None]))
    workers.close()
    difference = float((gradients[0] - gradients[1]).norm() / gradients[0].norm())
    assert 1e-5 < difference < 0.5
