"""Every learner on a device that is not the CPU: no tensor is left behind, and the answers are the CPU's."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from meta_core.batching import adapt_many, encode_episode, predict_many
from meta_core.episode import Episode, tasks_of
from meta_core.learner import AdaptOptions, Learner
from meta_core.leave_one_out import leave_one_out
from meta_core.meta_step import meta_gradient
from meta_core.registry import LEARNERS
from meta_core.support_summary import summarize
from tests import elsewhere
from tests.learners import made_up_tasks
from tests.made_up import small_learner

pytestmark = pytest.mark.elsewhere

OPTIONS = AdaptOptions()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    with elsewhere.elsewhere(monkeypatch) as found:
        yield found


def tasks() -> Episode:
    return made_up_tasks.sample(2, torch.Generator().manual_seed(0), ways=3, shots=2, queries=2)


@torch.no_grad()
def answers(learner: Learner, drawn: Episode) -> list[Tensor]:
    encoded = list(tasks_of(encode_episode(learner, drawn)))
    states = adapt_many(learner, [task.support for task in encoded], options=OPTIONS)
    found = predict_many(learner, states, [task.query.inputs for task in encoded])
    if learner.encodes:
        support = encoded[0].support
        summary = summarize(learner, support, options=OPTIONS)
        found += [leave_one_out(learner, support, options=OPTIONS), *summary.values()]
    return found


@pytest.mark.parametrize("name", LEARNERS.names())
def test_it_answers_as_on_the_cpu(name: str, device: torch.device) -> None:
    expected = answers(small_learner(name), tasks())
    there = answers(elsewhere.moved(small_learner(name)), made_up_tasks.moved(tasks(), device))  # type: ignore[arg-type]
    assert all(tensor.device == device for tensor in there)
    for found, here in zip(there, expected, strict=True):
        torch.testing.assert_close(found.cpu(), here, atol=1e-3, rtol=1e-3, equal_nan=True)


@pytest.mark.parametrize("name", LEARNERS.names())
def test_its_meta_gradient_is_that_of_the_cpu(name: str, device: torch.device) -> None:
    found = {}
    for place in ("here", "there"):
        learner = small_learner(name)
        drawn = tasks()
        if place == "there":
            elsewhere.moved(learner)
            drawn = made_up_tasks.moved(drawn, device)
        meta_gradient(learner.train(), drawn, chunk=2, precision="fp32", generator=torch.Generator(), progress=1.0)
        found[place] = [weight.grad.cpu() for weight in learner.parameters() if weight.grad is not None]
    for here, there in zip(found["here"], found["there"], strict=True):
        assert float((there - here).norm()) <= 1e-3 * max(float(here.norm()), 1e-3)


def test_a_tensor_left_behind_is_found(device: torch.device) -> None:
    there = torch.ones(3).to(device)
    assert (there * 2 + torch.tensor(1.0)).tolist() == [3, 3, 3]
    assert there[torch.tensor([0, 2])].device == device
    with pytest.raises(RuntimeError, match="on the CPU"):
        there + torch.ones(3)
    with pytest.raises(RuntimeError, match="on the CPU"):
        torch.cat([there, torch.ones(1)])
    with pytest.raises(RuntimeError, match="on the CPU"):
        torch.ones(3)[there.long()]
