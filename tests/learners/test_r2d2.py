"""R2-D2 against ridge regression worked by hand, scikit-learn's, and finite differences."""

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from meta_core.episode import SupportSet
from meta_core.learners.r2d2 import R2D2
from meta_core.solvers import ridge_solver
from tests.learners.supports import OPTIONS, random, support_set

# Centred on (3, 1) the examples are ∓(2, 0): XᵀX = diag(8, 0), and class 0's XᵀY is (−2, 0), class 1's (2, 0).
SUPPORT = SupportSet(torch.tensor([[1.0, 1.0], [5.0, 1.0]]), torch.eye(2), torch.ones(2))


def made(*, penalty: float = 1.0, scale: float = 1.0) -> R2D2:
    return R2D2(backbone=nn.Identity(), penalty=penalty, scale=scale)


def test_the_weights_are_ridge_regression_worked_by_hand() -> None:
    # λ = 2: W = (8 + 2)⁻¹ (∓2) = ∓0.2; the intercept is ½ − (3, 1) · W = ½ ± 0.6.
    state = made(penalty=2).adapt(SUPPORT, options=OPTIONS)
    torch.testing.assert_close(state["weight"], torch.tensor([[-0.2, 0.2], [0.0, 0.0]]))
    torch.testing.assert_close(state["bias"], torch.tensor([1.1, -0.1]))


def test_logits_are_scaled_and_shifted() -> None:
    # The query (2, 7) is predicted 1.1 − 0.4 = 0.7 and −0.1 + 0.4 = 0.3; α = 10 and β = 5 make that 12 and 8.
    learner = made(penalty=2, scale=10)
    with torch.no_grad():
        learner.shift.copy_(torch.tensor(5.0))
    logits = learner.predict(learner.adapt(SUPPORT, options=OPTIONS), torch.tensor([[2.0, 7.0]]))
    torch.testing.assert_close(logits, torch.tensor([[12.0, 8.0]]))


@pytest.mark.parametrize(("examples", "features"), [(7, 20), (7, 7), (20, 7)])
def test_both_forms_of_the_solution_are_equal(examples: int, features: int) -> None:
    rows, targets, penalty = random(examples, features), random(examples, 3, seed=1), torch.tensor(0.3).double()
    primal = torch.linalg.inv(rows.T @ rows + penalty * torch.eye(features)) @ rows.T @ targets
    dual = rows.T @ torch.linalg.inv(rows @ rows.T + penalty * torch.eye(examples)) @ targets
    found = ridge_solver(rows, penalty)(targets)
    torch.testing.assert_close(found, primal, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found, dual, rtol=1e-8, atol=1e-8)


def test_rows_of_zeros_may_turn_one_form_into_the_other() -> None:
    rows, targets, penalty = random(5, 8), random(5, 3, seed=1), torch.tensor(0.3).double()
    padded = ridge_solver(torch.cat([rows, rows.new_zeros(6, 8)]), penalty)(torch.cat([targets, random(6, 3)]))
    torch.testing.assert_close(padded, ridge_solver(rows, penalty)(targets), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("features", [4, 40])
def test_answers_are_scikit_learns_ridge_with_balanced_classes(features: int) -> None:
    labels = [0] * 2 + [1] * 3 + [2] * 9
    support, query = support_set(1 + random(14, features), labels), 1 + random(6, features, seed=1)
    shares = [14 / 3 / labels.count(label) for label in labels]
    expected = Ridge(alpha=0.7).fit(support.inputs, support.targets, sample_weight=shares).predict(query)
    learner = made(penalty=0.7).double()
    found = learner.predict(learner.adapt(support, options=OPTIONS), query).detach()
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-6, atol=1e-6)


def test_a_constant_in_all_features_changes_no_answer() -> None:
    support, query = support_set(random(6, 8), [0, 0, 1, 1, 2, 2]), random(4, 8, seed=1)
    learner = made().double()
    plain = learner.predict(learner.adapt(support, options=OPTIONS), query)
    moved = learner.adapt(support._replace(inputs=support.inputs + 100), options=OPTIONS)
    torch.testing.assert_close(learner.predict(moved, query + 100), plain, rtol=1e-6, atol=1e-6)
