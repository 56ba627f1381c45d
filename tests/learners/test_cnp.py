"""Conditional neural processes: the representation is a mean, all classes count for each, and it regresses."""

import pytest
import torch
from torch import Tensor

from meta_core.batching import adapt_many, encode_episode, predict_many
from meta_core.checkpoint import measure_state
from meta_core.episode import SupportSet, tasks_of
from meta_core.errors import InvalidSupportSet
from meta_core.learner import AdaptOptions, Learner
from tests.learners.made_up_tasks import sample
from tests.made_up import small_learner

NAMES = ("cnp", "mr_cnp")
"""Both regress; the second is served as the first."""
FEATURES = 8
"""Of `small_learner`'s backbone."""


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


def regression(name: str) -> Learner:
    return small_learner(name, objective="squared_error")


def points(examples: int, *, numbers: int = 1, seed: int = 0) -> SupportSet:
    """Encoded examples of `small_learner` with real targets."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(examples, FEATURES, generator=generator)
    return SupportSet(features, torch.randn(examples, numbers, generator=generator), torch.ones(examples))


def answer(learner: Learner, support: SupportSet, query: Tensor) -> Tensor:
    return learner.predict(learner.adapt(support, options=AdaptOptions()), query).detach()


@pytest.mark.parametrize("name", NAMES)
def test_a_regression_is_the_mean_of_what_the_pairs_say_in_any_order_and_without_padding(name: str) -> None:
    learner, support, query = regression(name), points(7), points(4, seed=1).inputs
    expected = answer(learner, support, query)
    assert expected.shape == (4, 1)
    shuffled = SupportSet(*(tensor[[3, 0, 6, 1, 5, 2, 4]] for tensor in support))
    noise = points(5, seed=2)._replace(weights=torch.zeros(5))
    padded = SupportSet(*(torch.cat(pair) for pair in zip(support, noise, strict=True)))
    moved = support._replace(targets=support.targets + 1)
    for same in (shuffled, padded):
        torch.testing.assert_close(answer(learner, same, query), expected, rtol=1e-5, atol=1e-6)
    assert float((answer(learner, moved, query) - expected).abs().max()) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_regressions_batched_are_the_same_one_by_one_and_a_query_s_answer_is_its_own(name: str) -> None:
    learner, supports = regression(name), [points(3), points(9, seed=1), points(1, seed=2)]
    query = points(5, seed=3).inputs
    states = adapt_many(learner, supports, options=AdaptOptions())
    together = predict_many(learner, states, [query[:count] for count in (5, 1, 3)])
    size = measure_state(learner, (FEATURES,))
    for support, state, found in zip(supports, states, together, strict=True):
        alone = torch.cat([answer(learner, support, row[None]) for row in query[: len(found)]])
        torch.testing.assert_close(found.detach(), alone, rtol=1e-5, atol=1e-6)
        assert sum(tensor.nbytes for tensor in state.values()) <= size.at(ways=1, examples=len(support.inputs))


@pytest.mark.parametrize("name", NAMES)
def test_of_several_numbers_each_is_answered_for_itself(name: str) -> None:
    learner, support, query = regression(name), points(6, numbers=3), points(2, seed=1).inputs
    exchanged = answer(learner, support._replace(targets=support.targets[:, [2, 0, 1]]), query)
    torch.testing.assert_close(exchanged, answer(learner, support, query)[:, [2, 0, 1]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_regression_without_an_example_is_refused(name: str) -> None:
    with pytest.raises(InvalidSupportSet, match="a regression needs at least one"):
        regression(name).adapt(points(3)._replace(weights=torch.zeros(3)), options=AdaptOptions())
