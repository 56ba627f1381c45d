"""Tasks of any sizes together give what they give alone, each in its own place."""

import pytest
import torch
from torch import Tensor, nn

from meta_core.batching import adapt_many, encode_episode, predict_many
from meta_core.episode import Episode, QuerySet, State, SupportSet, tasks_of
from meta_core.errors import InvalidSupportSet
from meta_core.learner import AdaptOptions
from meta_core.learners.protonet import ProtoNet
from tests.made_up import small_learner

OPTIONS = AdaptOptions()


class OneByOne(ProtoNet):
    """Without a batching rule: a look at the values, which `torch.vmap` forbids."""

    vectorized = False

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        assert float(support.inputs.sum()) != float("inf")
        return super().adapt(support, options=options)

    def predict(self, state: State, query: Tensor) -> Tensor:
        assert float(query.sum()) != float("inf")
        return super().predict(state, query)


def task(shots: list[int], seed: int) -> SupportSet:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.eye(len(shots)).repeat_interleave(torch.tensor(shots), dim=0)
    return SupportSet(torch.randn(len(targets), 4, generator=generator), targets, torch.ones(len(targets)))


SUPPORTS = [task(shots, seed) for seed, shots in enumerate(([1, 1], [2, 3, 1], [4, 4], [1, 1, 1], [7, 1]))]


@pytest.mark.parametrize("kind", [ProtoNet, OneByOne])
def test_answers_come_back_in_the_order_of_the_tasks(kind: type[ProtoNet]) -> None:
    learner = kind(backbone=nn.Identity())
    queries = [torch.randn(2 + i, 4, generator=torch.Generator().manual_seed(i)) for i in range(len(SUPPORTS))]
    logits = predict_many(learner, adapt_many(learner, SUPPORTS, options=OPTIONS), queries)
    for found, support, query in zip(logits, SUPPORTS, queries, strict=True):
        alone = ProtoNet.predict(learner, ProtoNet.adapt(learner, support, options=OPTIONS), query)
        torch.testing.assert_close(found, alone, rtol=1e-6, atol=1e-6)


def test_no_task_gives_no_answer() -> None:
    learner = ProtoNet(backbone=nn.Identity())
    assert adapt_many(learner, [], options=OPTIONS) == []
    assert predict_many(learner, [], []) == []


def test_a_state_does_not_keep_the_batch_alive() -> None:
    for state in adapt_many(ProtoNet(backbone=nn.Identity()), SUPPORTS, options=OPTIONS):
        for tensor in state.values():
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_one_bad_task_among_good_ones_is_refused() -> None:
    bad = SUPPORTS[0]._replace(targets=torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    with pytest.raises(InvalidSupportSet, match=r"classes \[1\]"):
        adapt_many(ProtoNet(backbone=nn.Identity()), [*SUPPORTS, bad], options=OPTIONS)


def test_states_and_queries_that_do_not_pair_are_refused() -> None:
    learner = ProtoNet(backbone=nn.Identity())
    states = adapt_many(learner, SUPPORTS, options=OPTIONS)
    with pytest.raises(ValueError, match="5 states came with 1 query"):
        predict_many(learner, states, [torch.zeros(1, 4)])


def meta_batch(tasks: int, examples: int, queries: int) -> Episode:
    generator = torch.Generator().manual_seed(0)
    return Episode(
        SupportSet(
            torch.randn(tasks, examples, 1, 28, 28, generator=generator),
            torch.eye(examples).expand(tasks, -1, -1),
            torch.ones(tasks, examples),
        ),
        QuerySet(
            torch.randn(tasks, queries, 1, 28, 28, generator=generator),
            torch.eye(examples)[torch.arange(queries) % examples].expand(tasks, -1, -1),
        ),
    )


def test_one_forward_encodes_every_task_in_its_place() -> None:
    learner, episode = small_learner("protonet"), meta_batch(3, 2, 4)
    with torch.no_grad():
        encoded = encode_episode(learner, episode)
        for index in range(3):
            expected = learner.encode(episode.query.inputs[index])
            torch.testing.assert_close(encoded.query.inputs[index], expected, rtol=1e-5, atol=1e-5)
            expected = learner.encode(episode.support.inputs[index])
            torch.testing.assert_close(encoded.support.inputs[index], expected, rtol=1e-5, atol=1e-5)
    assert encoded.support.targets is episode.support.targets


def test_reduced_precision_is_near_and_comes_back_in_float32() -> None:
    learner, episode = small_learner("protonet"), meta_batch(2, 2, 3)
    with torch.no_grad():
        full, reduced = encode_episode(learner, episode), encode_episode(learner, episode, precision="bf16")
    assert reduced.support.inputs.dtype == torch.float32
    assert not torch.equal(full.query.inputs, reduced.query.inputs)
    assert (full.query.inputs - reduced.query.inputs).abs().max() < 0.05 * full.query.inputs.abs().max()


def test_a_meta_batch_splits_into_its_tasks() -> None:
    episode = meta_batch(3, 2, 4)
    tasks = list(tasks_of(episode))
    assert len(tasks) == 3
    for index, one in enumerate(tasks):
        assert all(torch.equal(a, b[index]) for a, b in zip(one.support, episode.support, strict=True))
        assert all(torch.equal(a, b[index]) for a, b in zip(one.query, episode.query, strict=True))
