"""The cosine classifier against a step worked by hand, a loop by autograd, and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from meta_core.episode import SupportSet
from meta_core.learner import AdaptOptions
from meta_core.learners.cosine_classifier import CosineClassifier
from tests.learners.supports import OPTIONS, random, support_set

LABELS = [0, 0, 1, 2, 2, 2]


def made(*, scale: float = 10.0, steps: int = 50, rate: float = 1.0) -> CosineClassifier:
    return CosineClassifier(backbone=nn.Identity(), scale=scale, steps=steps, rate=rate)


def test_without_a_step_weights_are_the_means_of_directions() -> None:
    # Class 0's directions (1, 0) and (0, 1) have the mean direction (1, 1)/√2, class 1's is (−1, 0).
    # The query (3, 4) is at cosines 7/(5√2) and −3/5 of them; τ = 2.
    support = support_set(torch.tensor([[9.0, 0.0], [0.0, 0.1], [-2.0, 0.0]]), [0, 0, 1])
    learner = made(scale=2)
    state = learner.adapt(support, options=AdaptOptions(steps=0))
    logits = learner.predict(state, torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(logits, torch.tensor([[2 * 7 / 5 / math.sqrt(2), -1.2]]))


def test_a_step_is_worked_by_hand() -> None:
    # The examples and first weights are (1, 0) and (0, 1). With τ = ln 3 an example's own class has p = 3 / (3 + 1), so
    # that class 0's gradient is (¾ − 1)(1, 0) + (¼ − 0)(0, 1), of which (0, ¼) is along the circle. A rate of 3 τ moves
    # (1, 0) to (1, −¾), which made of length 1 is (0.8, −0.6).
    support = support_set(torch.eye(2), [0, 1])
    tau = math.log(3)
    state = made(scale=tau, steps=1, rate=3 * tau).adapt(support, options=OPTIONS)
    torch.testing.assert_close(state["weight"] / tau, torch.tensor([[0.8, -0.6], [-0.6, 0.8]]))


def by_autograd(support: SupportSet, *, scale: float, steps: int, rate: float) -> Tensor:
    """Directions (C, D) after descent with momentum 0.9 on the sum over classes of their mean cross-entropy."""
    rows, labels = F.normalize(support.inputs, dim=1), support.targets.argmax(-1)
    weight = F.normalize(torch.stack([rows[labels == c].mean(0) for c in range(support.targets.shape[1])]), dim=1)
    velocity = torch.zeros_like(weight)
    for _ in range(steps):
        weight.requires_grad_()
        losses = F.cross_entropy(scale * rows @ F.normalize(weight, dim=1).T, labels, reduction="none")
        loss = torch.stack([losses[labels == c].mean() for c in range(len(weight))]).sum()
        velocity = 0.9 * velocity + torch.autograd.grad(loss, weight)[0]
        weight = F.normalize(weight.detach() - rate / scale**2 * velocity, dim=1)
    return weight


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_the_steps_are_those_of_autograd_with_momentum(steps: int) -> None:
    support = support_set(random(6, 8), LABELS)
    state = made(scale=7, steps=steps, rate=0.8).double().adapt(support, options=OPTIONS)
    expected = by_autograd(support, scale=7, steps=steps, rate=0.8)
    torch.testing.assert_close(state["weight"].detach().T / 7, expected, rtol=1e-7, atol=1e-7)


def test_steps_fit_the_support_set_better_than_its_means() -> None:
    support = support_set(random(30, 8), LABELS * 5)
    learner, losses = made(), []
    for steps in (0, 5, 50, 200):
        logits = learner.predict(learner.adapt(support, options=AdaptOptions(steps=steps)), support.inputs)
        losses.append(float(F.cross_entropy(logits, support.targets).detach()))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.7 * losses[0]


def test_the_request_may_choose_steps_and_a_factor_on_the_rate() -> None:
    support = support_set(random(6, 8), LABELS)
    found = made(steps=3, rate=0.5).adapt(support, options=AdaptOptions(steps=7, rate=2))
    torch.testing.assert_close(found, made(steps=7, rate=1).adapt(support, options=OPTIONS), rtol=0, atol=0)
    assert not torch.equal(found["weight"], made(steps=7, rate=0.5).adapt(support, options=OPTIONS)["weight"])


def test_a_step_that_is_too_long_stays_finite() -> None:
    support = support_set(random(6, 8), LABELS)
    state = made(rate=1e6).adapt(support, options=AdaptOptions(steps=200, rate=4))
    torch.testing.assert_close(state["weight"].norm(dim=0), torch.full((3,), 10.0).double())
