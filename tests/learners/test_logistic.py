"""Logistic regression against a step worked by hand, scikit-learn's solution, and finite differences."""

import math
from itertools import pairwise

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from meta_core.episode import SupportSet
from meta_core.functional import balanced_weights, centred_rows
from meta_core.learner import AdaptOptions
from meta_core.learners.logistic import Logistic
from meta_core.solvers import logistic_regression
from tests.learners.supports import HARD, OPTIONS, random, support_set
from tests.learners.test_r2d2 import SUPPORT

LABELS = [0] * 2 + [1] * 3 + [2] * 9


def made(*, penalty: float = 1.0, scale: float = 1.0, steps: int = 15) -> Logistic:
    return Logistic(backbone=nn.Identity(), penalty=penalty, scale=scale, steps=steps)


def solved(support: SupportSet, *, penalty: float, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, bias and objective of the solver on centred rows."""
    weights = balanced_weights(support.targets, support.weights)
    rows, _ = centred_rows(support.inputs, weights)
    weight, bias = logistic_regression(
        rows, support.targets.double(), weights, penalty=torch.tensor(penalty).double(), steps=steps
    )
    losses = -(support.targets * (rows @ weight + bias).log_softmax(-1)).sum(-1)
    return weight, bias, weights @ losses + penalty / 2 * weight.square().sum()


def test_the_first_step_is_worked_by_hand() -> None:
    # Centred on (3, 1) and divided by their root mean square of 2, the examples are ∓1. At W = 0 all p are ½, so that
    # class 0's gradient is (−1)(½ − 1) + (1)(½ − 0) = 1 and class 1's −1; the curvature is (1 + 1) / 2 + λ = 2 with
    # λ = 1: Newton's step is ∓½. It moves each example's logits apart by 1, thus ln(1 + 1) / 1 of it is taken.
    # In the features as they came that is ∓ln 2 / 4, and the bias −(3, 1) · W = ±3 ln 2 / 4. α = 2 doubles both.
    state = made(scale=2, steps=1).adapt(SUPPORT, options=OPTIONS)
    quarter = 2 * math.log(2) / 4
    torch.testing.assert_close(state["weight"], torch.tensor([[-quarter, quarter], [0.0, 0.0]]))
    torch.testing.assert_close(state["bias"], torch.tensor([3 * quarter, -3 * quarter]))


@pytest.mark.parametrize("features", [4, 40])
@pytest.mark.parametrize("penalty", [1.0, 0.1])
def test_answers_are_scikit_learns_with_balanced_classes(features: int, penalty: float) -> None:
    support, query = support_set(random(14, features), LABELS), random(6, features, seed=1)
    weights = balanced_weights(support.targets, support.weights)
    rows, mean = centred_rows(support.inputs, weights)
    length = (weights @ rows.square().sum(-1) / 14).sqrt()
    peer = LogisticRegression(C=1 / penalty, class_weight="balanced", tol=1e-10, max_iter=10_000)
    expected = peer.fit(rows / length, LABELS).predict_proba((query - mean) / length)
    learner = made(penalty=penalty, steps=30).double()
    found = learner.predict(learner.adapt(support, options=OPTIONS), query).softmax(-1).detach()
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("penalty", [1.0, 1e-2, 1e-6])
@pytest.mark.parametrize("case", [*HARD, "outliers"])
def test_no_step_ascends(case: str, penalty: float) -> None:
    """Undamped, the last step on these outliers comes to a hundred times the objective that the first started from."""
    outliers = support_set(random(8, 3, seed=52) * (2 * random(8, 1, seed=53)).exp(), [0, 0, 0, 1, 1, 1, 2, 2])
    support = HARD.get(case, outliers)
    values = [float(solved(support, penalty=penalty, steps=steps)[2]) for steps in range(13)]
    assert all(after <= before + 1e-9 * values[0] for before, after in pairwise(values))


@pytest.mark.parametrize("examples", [14, 140])
def test_at_the_solution_the_gradient_is_zero(examples: int) -> None:
    support = support_set(random(examples, 30), LABELS * (examples // 14))
    weight, bias, _ = solved(support, penalty=0.1, steps=60)
    weights = balanced_weights(support.targets, support.weights)
    rows, _ = centred_rows(support.inputs, weights)
    errors = weights[:, None] * ((rows @ weight + bias).softmax(-1) - support.targets)
    assert float((rows.T @ errors + 0.1 * weight).abs().max()) < 1e-6
    assert float(errors.sum(0).abs().max()) < 1e-6


def test_the_scale_multiplies_all_logits() -> None:
    support, query = support_set(random(14, 8), LABELS), random(6, 8, seed=1)
    plain, scaled = made(), made(scale=3)
    expected = 3 * plain.predict(plain.adapt(support, options=OPTIONS), query)
    torch.testing.assert_close(scaled.predict(scaled.adapt(support, options=OPTIONS), query), expected)


def test_the_request_may_choose_how_many_steps() -> None:
    support = support_set(random(14, 8), LABELS)
    few, more = made(steps=2), made(steps=9)
    found = few.adapt(support, options=AdaptOptions(steps=9))
    torch.testing.assert_close(found, more.adapt(support, options=OPTIONS), rtol=0, atol=0)
    assert not torch.equal(found["weight"], few.adapt(support, options=OPTIONS)["weight"])


def test_a_factor_on_all_features_and_a_constant_in_them_change_no_answer() -> None:
    support, query = support_set(random(14, 8), LABELS), random(4, 8, seed=1)
    learner = made().double()
    plain = learner.predict(learner.adapt(support, options=OPTIONS), query)
    moved = learner.adapt(support._replace(inputs=1e3 * (support.inputs + 5)), options=OPTIONS)
    torch.testing.assert_close(learner.predict(moved, 1e3 * (query + 5)), plain, rtol=1e-6, atol=1e-6)


def test_what_rounding_tells_apart_is_not_learned() -> None:
    """The encoder gives equal pictures features that differ in the last bit, by where in a batch they stood."""
    support = support_set(0.7 * (1 + 1e-7 * random(6, 8)).float(), [0, 0, 1, 1, 2, 2])
    assert float(support.inputs.std(0).max()) > 0
    learner = made()
    chances = learner.predict(learner.adapt(support, options=OPTIONS), support.inputs).softmax(-1)
    torch.testing.assert_close(chances, torch.full_like(chances, 1 / 3), rtol=0, atol=1e-2)
