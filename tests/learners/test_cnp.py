"""Conditional neural processes: the representation is a mean, and all classes count for each."""

import torch

from meta_core.batching import encode_episode
from meta_core.episode import tasks_of
from meta_core.learner import AdaptOptions
from tests.learners.made_up_tasks import sample
from tests.made_up import small_learner


def test_a_class_is_the_mean_of_what_its_examples_say() -> None:
    learner = small_learner("cnp")
    (task,) = tasks_of(encode_episode(learner, sample(1, torch.Generator().manual_seed(0), ways=3, shots=4)))
    found = learner.adapt(task.support, options=AdaptOptions())["representation"]
    expected = learner.represent(task.support.inputs).view(3, 4, -1).mean(1)
    torch.testing.assert_close(found, expected)


def test_a_pair_is_judged_in_the_light_of_all_classes() -> None:
    """Or it would be a relation network: the third class changes what the query is to the first two."""
    learner = small_learner("cnp")
    (task,) = tasks_of(encode_episode(learner, sample(1, torch.Generator().manual_seed(0), ways=3)))
    state = learner.adapt(task.support, options=AdaptOptions())
    three = learner.predict(state, task.query.inputs)[:, :2]
    two = learner.predict({"representation": state["representation"][:2]}, task.query.inputs)
    assert float((three - two).detach().abs().max()) > 1e-6
