"""SNAIL and MANN, which read the examples in their order."""

import pytest
import torch

from meta_core import label_codes
from meta_core.batching import encode_episode
from meta_core.episode import SupportSet, tasks_of
from meta_core.learner import AdaptOptions
from tests.learners.laws import answer, assert_same_answer, generator
from tests.learners.made_up_tasks import encoded_task, sample
from tests.made_up import small_learner

KINDS = ("snail", "mann")


@pytest.mark.parametrize("name", KINDS)
def test_the_order_matters_as_it_declares(name: str) -> None:
    learner = small_learner(name)
    assert learner.order_matters
    support, query = encoded_task(learner, [3] * 4, generator())
    turned = SupportSet(*(tensor.flip(0) for tensor in support))
    assert not torch.allclose(answer(learner, turned, query), answer(learner, support, query), atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_tasks_are_trained_together_as_they_are_one_by_one(name: str) -> None:
    learner = small_learner(name).train()
    batch = encode_episode(learner, sample(3, generator(), ways=4, shots=2))
    together = learner.meta_losses(batch, generator=generator(), progress=0.0)
    dealt, places = label_codes.dealt(batch, learner.places, generator())
    alone = [learner._loss(task, own) for task, own in zip(tasks_of(dealt), places, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_a_code_says_nothing_of_its_class(name: str) -> None:
    """In training a class has another place each time, so that no output can become that of a character."""
    learner, rng = small_learner(name).train(), generator()
    (task,) = tasks_of(encode_episode(learner, sample(1, generator(), ways=4, shots=2)))
    losses = {float(learner.meta_loss(task, generator=rng, progress=0.0).detach()) for _ in range(5)}
    assert len(losses) == 5


def test_a_sequence_longer_than_the_convolutions_see_is_read_to_its_end() -> None:
    learner = small_learner("snail", length=4)
    support, query = encoded_task(learner, [10] * 5, generator())
    changed = support._replace(inputs=torch.cat([support.inputs[:1] + 1, support.inputs[1:]]))
    assert not torch.allclose(answer(learner, changed, query), answer(learner, support, query), atol=1e-6)


def test_queries_write_nothing_into_the_memory() -> None:
    learner = small_learner("mann")
    support, query = encoded_task(learner, [2] * 3, generator())
    state = learner.adapt(support, options=AdaptOptions())
    before = {name: tensor.clone() for name, tensor in state.items()}
    first = learner.predict(state, query)
    assert all(torch.equal(before[name], state[name]) for name in state)
    assert_same_answer(learner.predict(state, query.flip(0)).flip(0).detach(), first.detach())
