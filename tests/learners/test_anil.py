"""ANIL against its steps worked by hand, a plain loop, and finite differences."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from meta_core.episode import Episode, QuerySet, SupportSet
from meta_core.learner import AdaptOptions
from meta_core.learners.anil import ANIL

# Class 0 has the example (3, 1), class 1 the example (1, 3): centred on (2, 2) they are ±(1, −1), of length √2.
SUPPORT = SupportSet(torch.tensor([[3.0, 1.0], [1.0, 3.0]]), torch.eye(2), torch.ones(2))
OPTIONS = AdaptOptions()


def made(steps: int = 1, rate: float = 1.0) -> ANIL:
    return ANIL(backbone=nn.Identity(), steps=steps, rate=rate)


def test_one_step_from_equal_rows_is_worked_by_hand() -> None:
    # p = ½ everywhere, so row 0's gradient is ½ (½ − 1) x₀ + ½ (½ − 0) x₁ = −¼ x₀ + ¼ x₁ = −½ x₀ with x₁ = −x₀.
    # Two ways double the rate of 1: row 0 becomes x₀ = (1, −1)/√2 and row 1 its opposite; biases stay 0.
    # For features as they are, row 0 is divided by √2 once more, and its bias is −(2, 2) · (½, −½) = 0.
    state = made().adapt(SUPPORT, options=OPTIONS)
    row = torch.tensor([0.5, -0.5])
    torch.testing.assert_close(state["head.weight"], torch.stack([row, -row]))
    torch.testing.assert_close(state["head.bias"], torch.zeros(2))


def test_a_query_is_answered_by_the_linear_head() -> None:
    # (4, 0) · (½, −½) = 2: class 0's logit is 2 and class 1's −2.
    learner = made()
    logits = learner.predict(learner.adapt(SUPPORT, options=OPTIONS), torch.tensor([[4.0, 0.0]]))
    torch.testing.assert_close(logits, torch.tensor([[2.0, -2.0]]))


@pytest.mark.parametrize(("factor", "shift"), [(1, 100), (50, 0), (0.01, 3)])
def test_features_of_another_origin_or_length_change_no_answer(factor: float, shift: float) -> None:
    """What all classes have in common is taken out before the head's steps; else it would drown them."""
    learner = made(steps=5)
    moved = SUPPORT._replace(inputs=factor * SUPPORT.inputs + shift)
    query = torch.tensor([[2.5, 1.0], [0.0, 1.0]])
    plain = learner.predict(learner.adapt(SUPPORT, options=OPTIONS), query)
    found = learner.predict(learner.adapt(moved, options=OPTIONS), factor * query + shift)
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)


def test_examples_that_are_all_alike_or_zero_have_finite_answers() -> None:
    for inputs in (torch.full((2, 2), 3.0), torch.zeros(2, 2), torch.full((2, 2), 1e4)):
        state = made(steps=5).adapt(SUPPORT._replace(inputs=inputs), options=OPTIONS)
        logits = made().predict(state, torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))
        assert logits.isfinite().all()


def test_the_request_may_choose_steps_and_a_factor_on_the_rates() -> None:
    learner = made(steps=2, rate=0.5)
    more = learner.adapt(SUPPORT, options=AdaptOptions(steps=4))
    own = learner.adapt(SUPPORT, options=OPTIONS)
    assert float((more["head.weight"] - own["head.weight"]).detach().norm()) > 0.1
    doubled = learner.adapt(SUPPORT, options=AdaptOptions(rate=2))
    torch.testing.assert_close(doubled, made(steps=2, rate=1.0).adapt(SUPPORT, options=OPTIONS))
    none = learner.adapt(SUPPORT, options=AdaptOptions(steps=0))
    assert float(none["head.weight"].detach().abs().max()) == 0


def plain_loss(features: Tensor, labels: Tensor, query: Tensor, wanted: Tensor, rates: Tensor) -> Tensor:
    """(S, D) features of as many examples a class; rates (steps, 2) of weight and bias."""
    ways = int(labels.max()) + 1
    centre = torch.stack([features[labels == c].mean(0) for c in range(ways)]).mean(0)
    scale = ((features - centre) ** 2).sum(1).mean() ** 0.5
    weight = features.new_zeros(ways, features.shape[1]).requires_grad_()
    bias = features.new_zeros(ways).requires_grad_()
    for rate in rates:
        loss = F.cross_entropy((features - centre) / scale @ weight.T + bias, labels)
        of_weight, of_bias = torch.autograd.grad(loss, (weight, bias), create_graph=True)
        weight, bias = weight - ways * rate[0] * of_weight, bias - ways * rate[1] * of_bias
    return F.cross_entropy((query - centre) / scale @ weight.T + bias, wanted)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_the_meta_gradient_is_a_plain_loops_and_that_of_finite_differences(steps: int, norm: str) -> None:
    """Through the head's steps and an encoder with batch norm, in float64, for its weights and the rates."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(12, 4, dtype=torch.float64, generator=generator)
    labels, wanted = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 2, 2, 1, 0])
    learner, one_hot = made(steps=steps).double(), torch.eye(3, dtype=torch.float64)
    batch_norm = nn.BatchNorm1d(5, momentum=0.0).double().train(norm == "batch")

    def encoded(weight: Tensor) -> Tensor:
        features: Tensor = torch.tanh(batch_norm(inputs @ weight))
        return features

    def meta_loss(weight: Tensor, rates: Tensor) -> Tensor:
        del learner.rates.table
        learner.rates.table = rates  # type: ignore[assignment]
        features = encoded(weight)
        support = SupportSet(features[:6], one_hot[labels], torch.ones(6, dtype=torch.float64))
        episode = Episode(support, QuerySet(features[6:], one_hot[wanted]))
        return learner.meta_loss(episode, generator=generator, progress=0)

    def plain(weight: Tensor, rates: Tensor) -> Tensor:
        features = encoded(weight)
        return plain_loss(features[:6], labels, features[6:], wanted, rates)

    weight = torch.randn(4, 5, dtype=torch.float64, generator=generator).requires_grad_()
    rates = (1 + torch.rand(steps, 2, dtype=torch.float64, generator=generator)).requires_grad_()
    assert torch.autograd.gradcheck(meta_loss, (weight, rates))
    found = torch.autograd.grad(meta_loss(weight, rates), (weight, rates))
    expected = torch.autograd.grad(plain(weight, rates), (weight, rates))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
