"""What holds for every head on encoded features: exact meta-gradients, finite answers, no vote by numbers."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from meta_core.episode import Episode, QuerySet, SupportSet, tasks_of
from meta_core.learner import Learner
from meta_core.learners.cosine_classifier import CosineClassifier
from meta_core.learners.linear_probe import LinearProbe
from meta_core.learners.logistic import Logistic
from meta_core.learners.r2d2 import R2D2
from tests.learners.supports import HARD, OPTIONS, one_beside_fifty, random, support_set


def r2d2(*, penalty: float = 1.0, scale: float = 10.0) -> R2D2:
    return R2D2(backbone=nn.Identity(), penalty=penalty, scale=scale)


def logistic(*, penalty: float = 1.0, scale: float = 1.0, steps: int = 15) -> Logistic:
    return Logistic(backbone=nn.Identity(), penalty=penalty, scale=scale, steps=steps)


def probe(*, penalty: float = 0.01, steps: int = 40) -> LinearProbe:
    return LinearProbe(backbone=nn.Identity(), penalty=penalty, steps=steps)


def cosine(*, scale: float = 10.0, steps: int = 50) -> CosineClassifier:
    return CosineClassifier(backbone=nn.Identity(), scale=scale, steps=steps, rate=1.0)


HEADS = pytest.mark.parametrize(
    "learner",
    [
        pytest.param(logistic(), id="logistic"),
        pytest.param(probe(), id="linear probe"),
        pytest.param(cosine(), id="cosine"),
        pytest.param(r2d2(), id="r2d2"),
    ],
)


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


@pytest.mark.parametrize("features", [2, 7])
@pytest.mark.parametrize(
    "learner",
    [
        # Of so many steps that they reach the solution, whose gradient is what they do not approximate.
        pytest.param(logistic(scale=2, steps=20), id="logistic"),
        pytest.param(probe(penalty=0.3, steps=20), id="linear probe"),
        pytest.param(cosine(scale=5, steps=0), id="cosine, no step"),
        pytest.param(cosine(scale=5, steps=6), id="cosine"),
        pytest.param(r2d2(penalty=0.5, scale=3), id="r2d2"),
    ],
)
def test_the_meta_gradient_agrees_with_finite_differences(learner: Learner, features: int) -> None:
    """In float64 along random directions, for the encoder's weights and the scalars that are learned with it."""
    loss, inputs = MetaLoss(copy.deepcopy(learner).double()), random(2, 9, 3)
    names = [name for name, _ in loss.named_parameters()]

    def of_all(weight: Tensor, bias: Tensor, *scalars: Tensor) -> Tensor:
        learned, tasks = dict(zip(names, scalars, strict=True)), tasks_of(encoded(inputs, weight, bias))
        return torch.stack([functional_call(loss, learned, (task,)) for task in tasks]).sum()

    scalars = [parameter.detach().clone().requires_grad_() for parameter in loss.parameters()]
    weight, bias = random(3, features, seed=1).requires_grad_(), random(features, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(of_all, (weight, bias, *scalars), atol=1e-7, rtol=1e-5, fast_mode=True)


@pytest.mark.parametrize(
    "learner",
    [
        pytest.param(logistic(scale=2), id="logistic"),
        pytest.param(logistic(scale=2, penalty=1e-2), id="logistic, little penalty"),
        pytest.param(probe(), id="linear probe"),
        pytest.param(cosine(), id="cosine"),
        pytest.param(r2d2(penalty=0.5, scale=3), id="r2d2"),
    ],
)
def test_stacked_tasks_give_the_meta_gradient_of_single_ones(learner: Learner) -> None:
    """In float64, for the encoder's weights and the scalars, where all tasks but one have padding."""
    loss, inputs = MetaLoss(copy.deepcopy(learner).double()), random(3, 9, 3)
    variables = [random(3, 5, seed=1).requires_grad_(), random(5, seed=2).requires_grad_(), *loss.parameters()]
    episode = encoded(inputs, variables[0], variables[1])
    stacked = torch.autograd.grad(torch.vmap(loss)(episode).sum(), variables, retain_graph=True)
    single = torch.autograd.grad(torch.stack([loss(task) for task in tasks_of(episode)]).sum(), variables)
    for found, expected in zip(stacked, single, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize(
    "learner",
    [
        pytest.param(logistic(), id="logistic"),
        pytest.param(logistic(penalty=1e-6), id="logistic, no penalty to speak of"),
        pytest.param(probe(), id="linear probe"),
        pytest.param(cosine(), id="cosine"),
        pytest.param(r2d2(), id="r2d2"),
        pytest.param(r2d2(penalty=1e-9), id="r2d2, no penalty to speak of"),
    ],
)
def test_answers_and_the_gradients_of_meta_training_are_finite_for(case: str, learner: Learner) -> None:
    support = HARD[case]
    features = support.inputs.clone().requires_grad_()
    queries = torch.cat([features, torch.zeros_like(features[:1]), torch.ones_like(features[:1])])
    state = learner.adapt(support._replace(inputs=features), options=OPTIONS)
    logits = learner.predict(state, queries)
    assert all(tensor.isfinite().all() for tensor in (*state.values(), logits))
    variables = [features, *learner.parameters()]
    loss = -logits.log_softmax(-1)[:, 0].mean()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, variables))


@HEADS
def test_one_picture_under_contradictory_labels_is_undecided(learner: Learner) -> None:
    support = HARD["contradictory labels on one picture"]
    chances = learner.predict(learner.adapt(support, options=OPTIONS), support.inputs).softmax(-1)
    torch.testing.assert_close(chances, torch.full_like(chances, 1 / 3), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "learner",
    [
        pytest.param(logistic(penalty=0.1), id="logistic"),
        pytest.param(probe(), id="linear probe"),
        pytest.param(cosine(), id="cosine"),
        pytest.param(r2d2(penalty=0.1), id="r2d2"),
    ],
)
def test_one_example_is_not_outvoted_by_fifty(learner: Learner) -> None:
    support = one_beside_fifty()
    answers = learner.predict(learner.adapt(support, options=OPTIONS), support.inputs).argmax(-1)
    assert int(answers[0]) == 0
    assert float((answers[1:] == 1).double().mean()) > 0.6


@HEADS
def test_padding_is_ignored_whatever_it_holds(learner: Learner) -> None:
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
