"""Leave-one-out: short ways equal the long one; what cannot be answered is no number."""

import time

import pytest
import torch

from meta_core.episode import State, SupportSet
from meta_core.learner import AdaptOptions, Learner
from meta_core.learners.protonet import ProtoNet
from meta_core.leave_one_out import has_classmates, leave_one_out
from tests.made_up import encodes, small_learner

OPTIONS = AdaptOptions()


class Slow(ProtoNet):
    """Takes its time for every adaptation, and knows no shorter way."""

    vectorized = False

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        time.sleep(0.004)
        return super().adapt(support, options=options)

    def leave_one_out(self, support: SupportSet, *, options: AdaptOptions) -> None:  # type: ignore[override]
        return None


def support_set(shots: list[int], *, features: int = 32, padding: int = 0) -> SupportSet:
    """Vectors in float64 around their class's centre."""
    generator = torch.Generator().manual_seed(1)
    targets = torch.eye(len(shots)).repeat_interleave(torch.tensor(shots), 0).double()
    centres = torch.randn(len(shots), features, generator=generator, dtype=torch.float64)
    inputs = targets @ centres + torch.randn(len(targets), features, generator=generator, dtype=torch.float64)
    weights = torch.ones(len(targets), dtype=torch.float64)
    weights[len(targets) - padding :] = 0
    return SupportSet(inputs, targets, weights)


def the_long_way(learner: Learner, support: SupportSet) -> torch.Tensor:
    rows = []
    for position in range(len(support.weights)):
        kept = torch.arange(len(support.weights)) != position
        state = learner.adapt(SupportSet(*(tensor[kept] for tensor in support)), options=OPTIONS)
        rows.append(learner.predict(state, support.inputs[position, None]).detach())
    return torch.cat(rows)


@pytest.mark.parametrize("name", ["protonet", "r2d2"])
@pytest.mark.parametrize("shots", [[2, 2], [5] * 5, [9, 2, 4], [40, 30]])
def test_the_short_way_is_exact(name: str, shots: list[int]) -> None:
    """Also where features are fewer than examples, for which ridge regression solves its other form."""
    learner, support = small_learner(name), support_set(shots)
    assert learner.leave_one_out(support, options=OPTIONS) is not None
    found = leave_one_out(learner, support, options=OPTIONS)
    torch.testing.assert_close(found, the_long_way(learner, support), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["logistic", "linear_probe", "cosine_classifier", "anil"])
@pytest.mark.parametrize("features", [5, 200])
def test_the_long_way_is_exact_also_in_the_span_of_the_examples(name: str, features: int) -> None:
    learner, support = small_learner(name), support_set([3, 4, 2], features=features)
    assert learner.rotation_invariant
    found = leave_one_out(learner, support, options=OPTIONS)
    torch.testing.assert_close(found, the_long_way(learner, support), rtol=1e-6, atol=1e-6)


def test_ridge_regression_takes_the_long_way_where_examples_of_a_class_weigh_differently() -> None:
    learner, support = small_learner("r2d2"), support_set([3, 3])
    support = support._replace(weights=torch.tensor([1, 0.5, 1, 1, 1, 1], dtype=torch.float64))
    assert learner.leave_one_out(support, options=OPTIONS) is None
    torch.testing.assert_close(
        leave_one_out(learner, support, options=OPTIONS), the_long_way(learner, support), rtol=1e-6, atol=1e-6
    )


def test_what_has_no_classmate_and_padding_have_no_answer() -> None:
    support = support_set([1, 3, 2, 4], padding=2)
    expected = [False, True, True, True, True, True, True, True, False, False]
    assert has_classmates(support).tolist() == expected
    for name in ("protonet", "r2d2", "logistic"):
        logits = leave_one_out(small_learner(name), support, options=OPTIONS)
        assert (~logits.isnan()).all(-1).tolist() == expected
        assert logits.isnan().any(-1).tolist() == [not answered for answered in expected]


def test_one_example_a_class_has_no_answer_at_all() -> None:
    for name in ("protonet", "r2d2", "cosine_classifier"):
        assert leave_one_out(small_learner(name), support_set([1, 1, 1]), options=OPTIONS).isnan().all()


def test_no_time_answers_some_of_every_class_at_most() -> None:
    """The first is always answered, so that a caller in a hurry learns something."""
    support = support_set([30] * 3)
    logits = leave_one_out(small_learner("logistic"), support, options=OPTIONS, seconds=0)
    assert (~logits.isnan().any(-1)).sum() == 1
    whole = leave_one_out(small_learner("logistic"), support, options=OPTIONS, seconds=float("inf"))
    assert not whole.isnan().any()


def test_classes_take_turns_while_there_is_time() -> None:
    support = support_set([30] * 3)
    logits = leave_one_out(Slow(backbone=torch.nn.Identity()), support, options=OPTIONS, seconds=0.15)
    answered = (~logits.isnan().any(-1)).double() @ support.targets
    assert 1 <= answered.sum() <= 63  # pieces of 1, 2, 4 … 32; all take 0.36 s
    assert (answered.max() - answered.min()) <= 1


@pytest.mark.parametrize("name", ["maml", "fine_tuning"])
def test_adapting_a_whole_network_for_each_must_be_bounded(name: str) -> None:
    assert not encodes(name)
    with pytest.raises(ValueError, match="how many seconds"):
        leave_one_out(small_learner(name), support_set([2, 2]), options=OPTIONS)
