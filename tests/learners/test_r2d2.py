"""R2-D2 against ridge regression worked by hand, scikit-learn's, and finite differences.

The checks without `test_` in their name are of any head on encoded features; its tests import them from here.
"""

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torch.func import functional_call

from meta_core.batching import tasks_of
from meta_core.episode import Episode, QuerySet, SupportSet
from meta_core.learner import AdaptOptions, Learner
from meta_core.learners.r2d2 import R2D2
from meta_core.solvers import ridge_solver

OPTIONS = AdaptOptions()

# Centred on (3, 1) the examples are ∓(2, 0): XᵀX = diag(8, 0), and class 0's XᵀY is (−2, 0), class 1's (2, 0).
SUPPORT = SupportSet(torch.tensor([[1.0, 1.0], [5.0, 1.0]]), torch.eye(2), torch.ones(2))


def support_set(features: Tensor, labels: list[int]) -> SupportSet:
    targets = torch.eye(1 + max(labels), dtype=features.dtype)[torch.tensor(labels)]
    return SupportSet(features, targets, torch.ones(len(labels), dtype=features.dtype))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def one_beside_fifty() -> SupportSet:
    """Class 0 is one example at 40° of the circle, class 1 fifty between −35° and 35°."""
    degrees = torch.cat([torch.tensor([40.0]), torch.linspace(-35, 35, 50)])
    return support_set(torch.stack([degrees.deg2rad().cos(), degrees.deg2rad().sin()], 1), [0] + [1] * 50)


HARD: dict[str, SupportSet] = {
    "contradictory labels on one picture": support_set(torch.full((6, 8), 0.7), [0, 1, 2, 0, 1, 2]),
    "features that are 0": support_set(torch.zeros(6, 8), [0, 1, 2, 0, 1, 2]),
    "some features that are 0": support_set(torch.cat([torch.zeros(2, 8), torch.ones(4, 8)]), [0, 1, 2, 0, 1, 2]),
    "features of 1e4": support_set(1e4 * random(6, 8).float(), [0, 1, 2, 0, 1, 2]),
    "features of 1e-4": support_set(1e-4 * random(6, 8).float(), [0, 1, 2, 0, 1, 2]),
    "two pictures of 1e4 under all labels": support_set(1e4 * random(2, 8).float().repeat(3, 1), [0, 0, 1, 1, 2, 2]),
    "an offset of 1e4": support_set(1e4 + random(6, 8).float(), [0, 1, 2, 0, 1, 2]),
    "a hundred ways": support_set(random(100, 8).float(), list(range(100))),
    "one beside fifty": one_beside_fifty(),
}


class MetaLoss(nn.Module):
    """The meta-loss as a module, whose parameters can be swapped."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, episode: Episode) -> Tensor:
        return self.learner.meta_loss(episode, generator=torch.Generator(), progress=0)


def encoded(inputs: Tensor, weight: Tensor, bias: Tensor) -> Episode:
    """Tasks (T, 9, 3) of a one-layer encoder: 6 examples of 3 classes, 3 queries; all but task 0 have padding."""
    features = torch.tanh(inputs @ weight / 2 + bias)
    targets = torch.eye(3, dtype=inputs.dtype)[torch.tensor([0, 0, 1, 2, 2, 2])].expand(len(inputs), -1, -1)
    weights = torch.ones(targets.shape[:2], dtype=inputs.dtype)
    weights[1:, -1] = 0
    wanted = torch.eye(3, dtype=inputs.dtype).expand(len(inputs), -1, -1)
    return Episode(SupportSet(features[:, :6], targets, weights), QuerySet(features[:, 6:], wanted))


def assert_meta_gradient_is_that_of_finite_differences(learner: Learner, *, features: int) -> None:
    """In float64 along random directions, for the encoder's weights and the scalars that are learned with it."""
    loss, inputs = MetaLoss(learner.double()), random(2, 9, 3)
    names = [name for name, _ in loss.named_parameters()]

    def of_all(weight: Tensor, bias: Tensor, *scalars: Tensor) -> Tensor:
        learned, tasks = dict(zip(names, scalars, strict=True)), tasks_of(encoded(inputs, weight, bias))
        return torch.stack([functional_call(loss, learned, (task,)) for task in tasks]).sum()

    scalars = [parameter.detach().clone().requires_grad_() for parameter in loss.parameters()]
    weight, bias = random(3, features, seed=1).requires_grad_(), random(features, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(of_all, (weight, bias, *scalars), atol=1e-7, rtol=1e-5, fast_mode=True)


def assert_stacked_meta_gradient_is_that_of_single_tasks(learner: Learner) -> None:
    """In float64, for the encoder's weights and the scalars, where all tasks but one have padding."""
    loss, inputs = MetaLoss(learner.double()), random(3, 9, 3)
    variables = [random(3, 5, seed=1).requires_grad_(), random(5, seed=2).requires_grad_(), *loss.parameters()]
    episode = encoded(inputs, variables[0], variables[1])
    stacked = torch.autograd.grad(torch.vmap(loss)(episode).sum(), variables, retain_graph=True)
    single = torch.autograd.grad(torch.stack([loss(task) for task in tasks_of(episode)]).sum(), variables)
    for found, expected in zip(stacked, single, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def assert_finite(learner: Learner, support: SupportSet) -> None:
    """Answers, and the gradients that meta-training would follow."""
    features = support.inputs.clone().requires_grad_()
    queries = torch.cat([features, torch.zeros_like(features[:1]), torch.ones_like(features[:1])])
    state = learner.adapt(support._replace(inputs=features), options=OPTIONS)
    logits = learner.predict(state, queries)
    assert all(tensor.isfinite().all() for tensor in (*state.values(), logits))
    variables = [features, *learner.parameters()]
    loss = -logits.log_softmax(-1)[:, 0].mean()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, variables))


def assert_undecided_where_labels_contradict(learner: Learner) -> None:
    support = HARD["contradictory labels on one picture"]
    chances = learner.predict(learner.adapt(support, options=OPTIONS), support.inputs).softmax(-1)
    torch.testing.assert_close(chances, torch.full_like(chances, 1 / 3), rtol=0, atol=1e-5)


def assert_the_single_example_is_seen(learner: Learner) -> None:
    support = one_beside_fifty()
    answers = learner.predict(learner.adapt(support, options=OPTIONS), support.inputs).argmax(-1)
    assert int(answers[0]) == 0
    assert float((answers[1:] == 1).double().mean()) > 0.6


def assert_padding_is_ignored_whatever_it_holds(learner: Learner) -> None:
    """Also where so many rows of it come that there are more examples than features, and where it is not a number."""
    support = support_set(random(5, 8).float(), [0, 0, 1, 2, 2])
    expected = learner.adapt(support, options=OPTIONS)
    for garbage in (1e6, torch.inf, torch.nan):
        padded = SupportSet(
            torch.cat([support.inputs, torch.full((9, 8), garbage)]),
            torch.cat([support.targets, torch.eye(3).repeat(3, 1)]),
            torch.cat([support.weights, torch.zeros(9)]),
        )
        torch.testing.assert_close(learner.adapt(padded, options=OPTIONS), expected, rtol=1e-6, atol=1e-6)


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


@pytest.mark.parametrize("features", [2, 7])
def test_the_meta_gradient_agrees_with_finite_differences(features: int) -> None:
    assert_meta_gradient_is_that_of_finite_differences(made(penalty=0.5, scale=3), features=features)


def test_stacked_tasks_give_the_meta_gradient_of_single_ones() -> None:
    assert_stacked_meta_gradient_is_that_of_single_tasks(made(penalty=0.5, scale=3))


@pytest.mark.parametrize("penalty", [1.0, 1e-9])
@pytest.mark.parametrize("case", HARD)
def test_answers_and_gradients_are_finite_for(case: str, penalty: float) -> None:
    assert_finite(made(penalty=penalty, scale=10), HARD[case])


def test_one_picture_under_contradictory_labels_is_undecided() -> None:
    assert_undecided_where_labels_contradict(made(scale=10))


def test_one_example_is_not_outvoted_by_fifty() -> None:
    assert_the_single_example_is_seen(made(penalty=0.1, scale=10))


def test_padding_is_ignored_whatever_it_holds() -> None:
    assert_padding_is_ignored_whatever_it_holds(made(scale=10))
