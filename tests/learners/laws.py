"""What every learner promises, one function each: it takes a learner in `eval` mode and fails if the law is broken.

Everything is drawn on the CPU, and asked on the device that the learner is on.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import pytest
import safetensors.torch
import torch
from torch import Tensor

from meta_core.asking import device_of
from meta_core.batching import adapt_many, encode_episode, predict_many
from meta_core.checkpoint import measure_state
from meta_core.episode import SupportSet, tasks_of
from meta_core.errors import InvalidOptions, InvalidSupportSet
from meta_core.learner import AdaptOptions, Learner
from meta_core.leave_one_out import leave_one_out
from meta_core.objectives import accuracy
from tests.learners.made_up_tasks import LIGHT, encoded_task, moved, pictures, sample

Law: TypeAlias = Callable[[Learner], None]

LAWS: list[Law] = []
OPTIONS = AdaptOptions()
WAYS = 5
CHANCE = 1 / WAYS
CLEARLY_ABOVE_CHANCE = 0.6
"""Three times chance. Nearest means of an untrained Conv-4's features stay below half of it on these tasks; fitting the
whole untrained network to an episode's 25 pictures comes to 0.45."""


def law(check: Law) -> Law:
    """Every registered learner must pass it."""
    LAWS.append(check)
    return check


@law
def logits_are_one_a_query_and_class(learner: Learner) -> None:
    for ways in some_ways(learner):
        for queries in (1, 7):
            support, query = encoded_task(learner, [2] * ways, generator(), queries=queries)
            logits = learner.predict(learner.adapt(support, options=OPTIONS), query)
            assert logits.shape == (queries, ways)
            assert logits.isfinite().all()


@law
def predict_is_pure(learner: Learner) -> None:
    support, query = encoded_task(learner, [3] * WAYS, generator())
    state = learner.adapt(support, options=OPTIONS)
    with unchanged(learner), untouched(state.values()), untouched([query]):
        first, second = learner.predict(state, query), learner.predict(state, query)
    assert torch.equal(first, second)


@law
def adapt_is_pure(learner: Learner) -> None:
    support, _ = encoded_task(learner, [3] * WAYS, generator())
    with unchanged(learner), untouched(support):
        first, second = learner.adapt(support, options=OPTIONS), learner.adapt(support, options=OPTIONS)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@law
def a_frozen_learner_answers_the_same(learner: Learner) -> None:
    """A checkpoint is loaded without gradients and served under `no_grad`; gradient learners adapt all the same."""
    support, query = encoded_task(learner, [3] * WAYS, generator())
    expected = answer(learner, support, query)
    frozen = copy.deepcopy(learner).requires_grad_(requires_grad=False)
    with torch.no_grad():
        assert_same_answer(answer(frozen, support, query), expected)


@law
def state_survives_safetensors(learner: Learner) -> None:
    support, query = encoded_task(learner, [1, 2, 3, 1, 2], generator())
    with torch.no_grad():
        state = learner.adapt(support, options=OPTIONS)
    loaded = safetensors.torch.load(safetensors.torch.save({name: each.cpu() for name, each in state.items()}))
    stored = {name: tensor.to(query.device) for name, tensor in loaded.items()}
    assert torch.equal(learner.predict(stored, query), learner.predict(state, query))


@law
def many_tasks_batched_equal_the_same_one_by_one(learner: Learner) -> None:
    supports, queries = mixed_tasks(learner)
    states = adapt_many(learner, supports, options=OPTIONS)
    together = predict_many(learner, states, queries)
    for logits, support, query in zip(together, supports, queries, strict=True):
        assert_same_answer(logits, answer(learner, support, query))


@law
def padding_changes_nothing(learner: Learner) -> None:
    support, query = encoded_task(learner, [1, 2, 3, 1, 2], generator())
    expected = answer(learner, support, query)
    noise = 10 * torch.randn(support.inputs.shape, generator=generator()).to(support.inputs)
    for padding in (torch.zeros_like(support.inputs), noise):
        padded = SupportSet(
            torch.cat([support.inputs, padding]),
            torch.cat([support.targets, support.targets.flip(0)]),
            torch.cat([support.weights, support.weights.new_zeros(len(padding))]),
        )
        assert_same_answer(answer(learner, padded, query), expected)


@law
def weight_zero_leaves_an_example_out(learner: Learner) -> None:
    support, query = encoded_task(learner, [3] * WAYS, generator())
    weights = support.weights.clone()
    weights[4] = 0
    kept = weights > 0
    without = SupportSet(support.inputs[kept], support.targets[kept], support.weights[kept])
    assert_same_answer(answer(learner, support._replace(weights=weights), query), answer(learner, without, query))


@law
def leaving_one_out_is_adapting_to_the_others(learner: Learner) -> None:
    support, _ = encoded_task(learner, [1, 3, 2], generator())
    padded = SupportSet(*(torch.cat([tensor, tensor[:2]]) for tensor in support))
    weights = torch.cat([support.weights, support.weights.new_zeros(2)])
    logits = leave_one_out(learner, padded._replace(weights=weights), options=OPTIONS, seconds=float("inf"))
    assert logits.isnan().all(-1).tolist() == [True, False, False, False, False, False, True, True]
    for position in range(1, 6):
        without = weights.clone()
        without[position] = 0
        expected = answer(learner, padded._replace(weights=without), support.inputs[position, None])
        assert_same_answer(logits[position, None], expected)


@law
def a_query_does_not_depend_on_the_others(learner: Learner) -> None:
    support, _ = encoded_task(learner, [3] * WAYS, generator())
    asked = pictures(1, 51, generator()).to(device_of(learner))
    with torch.no_grad():
        state = learner.adapt(support, options=OPTIONS)
        crowd = learner.predict(state, learner.encode(asked))
        alone = torch.cat([learner.predict(state, learner.encode(picture[None])) for picture in asked])
    assert_same_answer(alone, crowd)


@law
def the_order_of_the_support_set_is_irrelevant(learner: Learner) -> None:
    if learner.order_matters:
        pytest.skip("this learner declares that the order matters")
    support, query = encoded_task(learner, [1, 2, 3, 1, 2], generator())
    shuffled = SupportSet(*(tensor[torch.randperm(9, generator=generator())] for tensor in support))
    assert_same_answer(answer(learner, shuffled, query), answer(learner, support, query))


@law
def relabelling_the_classes_permutes_the_logits(learner: Learner) -> None:
    if learner.fixed_ways:
        pytest.skip("this learner declares a head that is bound to its classes")
    support, query = encoded_task(learner, [1, 2, 3, 1, 2], generator())
    order = torch.tensor([3, 0, 4, 1, 2])
    relabelled = support._replace(targets=support.targets[:, order])
    assert_same_answer(answer(learner, relabelled, query), answer(learner, support, query)[:, order])


@law
def rotating_all_features_changes_nothing_where_it_is_declared(learner: Learner) -> None:
    if not learner.rotation_invariant:
        pytest.skip("this learner does not declare it")
    support, query = encoded_task(learner, [1, 2, 3, 1, 2], generator())
    features = support.inputs.shape[1]
    turn, _ = torch.linalg.qr(torch.randn(features, features, generator=generator()).double())
    turn = turn.to(query.device)
    turned, asked = ((rows.double() @ turn).float() for rows in (support.inputs, query))
    assert_same_answer(answer(learner, support._replace(inputs=turned), asked), answer(learner, support, query))


@law
def it_learns(learner: Learner) -> None:
    untrained = held_out_accuracy(learner)
    assert untrained < 2.5 * CHANCE, "an untrained learner does well: the tasks say nothing"
    trained = copy.deepcopy(learner)
    meta_train(trained)
    assert held_out_accuracy(trained) > max(CLEARLY_ABOVE_CHANCE, untrained + 0.1)


@law
def state_is_no_larger_than_the_card_says(learner: Learner) -> None:
    """Batched with larger tasks too: a user's state must not carry their padding."""
    supports, _ = mixed_tasks(learner)
    size = measure_state(copy.deepcopy(learner).cpu(), tuple(supports[0].inputs.shape[1:]))
    for support, state in zip(supports, adapt_many(learner, supports, options=OPTIONS), strict=True):
        examples, ways = support.targets.shape
        assert sum(tensor.nbytes for tensor in state.values()) <= size.at(ways=ways, examples=examples)
        assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in state.values())


@law
def a_class_without_an_example_is_refused(learner: Learner) -> None:
    support, _ = encoded_task(learner, [2] * WAYS, generator())
    weights = torch.ones_like(support.weights)
    weights[:2] = 0
    all_of_one_class = support._replace(targets=support.targets[:1].expand(2 * WAYS, WAYS))
    for refused in (all_of_one_class, support._replace(weights=weights)):
        assert_refused(learner, refused)


@law
def more_classes_than_it_can_tell_apart_are_refused_with_the_number(learner: Learner) -> None:
    if learner.most_ways is None:
        pytest.skip("this learner takes any number")
    most, _ = encoded_task(learner, [1] * learner.most_ways, generator())
    assert answer(learner, most, most.inputs).shape == (learner.most_ways, learner.most_ways)
    more, _ = encoded_task(learner, [1] * (learner.most_ways + 1), generator())
    assert_refused(learner, more, match=rf"{learner.most_ways + 1} classes came.* at most {learner.most_ways} ")


@law
def tensors_of_different_lengths_are_refused(learner: Learner) -> None:
    support, _ = encoded_task(learner, [2] * WAYS, generator())
    for name, tensor in support._asdict().items():
        assert_refused(learner, support._replace(**{name: tensor[:-1]}))


@law
def options_it_lacks_are_refused(learner: Learner) -> None:
    support, _ = encoded_task(learner, [2] * WAYS, generator())
    for options in (AdaptOptions(steps=3), AdaptOptions(rate=0.1)):
        ((name, _),) = options.given().items()
        if name in learner.limits:
            continue
        with pytest.raises(InvalidOptions, match=name):
            learner.adapt(support, options=options)
        with pytest.raises(InvalidOptions, match=name):
            adapt_many(learner, [support, support], options=options)


@law
def options_outside_their_limits_are_refused(learner: Learner) -> None:
    support, _ = encoded_task(learner, [2] * WAYS, generator())
    for name, (low, high) in learner.limits.items():
        for value in (low - 1, high + 1):
            with pytest.raises(InvalidOptions, match=name):
                learner.adapt(support, options=AdaptOptions(**{name: value}))  # type: ignore[arg-type]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def some_ways(learner: Learner) -> tuple[int, ...]:
    return (WAYS,) if learner.fixed_ways else (2, WAYS, 11)


def mixed_tasks(learner: Learner) -> tuple[list[SupportSet], list[Tensor]]:
    """Tasks of different ways, shots and numbers of queries, as different users send them at once."""
    shots: list[list[int]] = [[1] * 5, [1, 3, 2, 5, 1], [4] * 5, [2, 1, 1, 1, 6]]
    if not learner.fixed_ways:
        shots += [[4, 4], [1, 7], [3, 1, 2], [1] * 9]
    rng = generator()
    tasks = [encoded_task(learner, own, rng, queries=1 + 3 * i) for i, own in enumerate(shots)]
    return [support for support, _ in tasks], [query for _, query in tasks]


def answer(learner: Learner, support: SupportSet, query: Tensor) -> Tensor:
    return learner.predict(learner.adapt(support, options=OPTIONS), query).detach()


def assert_same_answer(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.softmax(-1), expected.softmax(-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def assert_refused(learner: Learner, support: SupportSet, *, match: str | None = None) -> None:
    good, _ = encoded_task(learner, [2] * WAYS, generator())
    with pytest.raises(InvalidSupportSet, match=match):
        learner.adapt(support, options=OPTIONS)
    with pytest.raises(InvalidSupportSet, match=match):
        adapt_many(learner, [good, support], options=OPTIONS)


def meta_train(learner: Learner) -> None:
    rng, optimizer = generator(), torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], lr=5e-3)
    learner.train()
    for step in range(learner.steps_to_learn):
        episode = encode_episode(learner, moved(sample(4, rng, light=light_for(learner)), device_of(learner)))
        progress = step / learner.steps_to_learn
        losses = learner.meta_losses(episode, generator=rng, progress=progress)
        optimizer.zero_grad()
        losses.mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    learner.eval()


def light_for(learner: Learner) -> float:
    """Light keeps untrained distances from doing well. A network that reads the labels knows nothing untrained, and
    needs hundreds of steps to see through light before it begins to read.
    """
    return 0.0 if learner.order_matters else LIGHT


@torch.no_grad()
def held_out_accuracy(learner: Learner) -> float:
    """On 40 tasks of classes that training never draws."""
    drawn = moved(sample(40, torch.Generator().manual_seed(99), light=light_for(learner)), device_of(learner))
    tasks = list(tasks_of(encode_episode(learner, drawn)))
    states = adapt_many(learner, [task.support for task in tasks], options=OPTIONS)
    logits = predict_many(learner, states, [task.query.inputs for task in tasks])
    right = [accuracy(row, task.query.targets) for row, task in zip(logits, tasks, strict=True)]
    return float(torch.stack(right).mean())


@contextmanager
def unchanged(learner: Learner) -> Iterator[None]:
    """The module's parameters, buffers and mode, and torch's own random state, are afterwards what they were."""
    before, mode, random = copy.deepcopy(learner.state_dict()), learner.training, torch.get_rng_state()
    yield
    after = learner.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert learner.training == mode
    assert torch.equal(torch.get_rng_state(), random)


@contextmanager
def untouched(tensors: Iterable[Tensor]) -> Iterator[None]:
    own = list(tensors)
    before = [tensor.clone() for tensor in own]
    yield
    assert all(torch.equal(old, new) for old, new in zip(before, own, strict=True))
