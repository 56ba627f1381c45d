"""MAML as published: its meta-gradient in float64, the paper's step by hand, and what fixed rows can learn by heart."""

import pytest
import torch
from torch import Tensor

from meta_core.backbones import mlp
from meta_core.episode import Episode, QuerySet, SupportSet, tasks_of
from meta_core.errors import InvalidSupportSet
from meta_core.learner import AdaptOptions
from meta_core.learners.network_maml import NetworkMAML
from meta_core.meta_step import meta_gradient, vmaps_tasks
from meta_core.objectives import Objective
from tests.learners.checks import assert_agrees_with_finite_differences, gradients

NONE = torch.Generator()


def made(objective: Objective, *, steps: int, rates: str = "layer_step") -> NetworkMAML:
    """A network of two layers in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        backbone = mlp.build(input_shape=(2,), hidden=[5], outputs=1 if objective == "squared_error" else 3)
        learner = NetworkMAML(backbone=backbone, steps=steps, rate=0.2, rates=rates, objective=objective)  # type: ignore[arg-type]
        learner.double()
        for parameter in learner.parameters():
            parameter.data.mul_(1 + 0.1 * torch.randn_like(parameter))
    return learner


def episode(objective: Objective, *, tasks: int = 3) -> Episode:
    generator = torch.Generator().manual_seed(5)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    if objective == "squared_error":
        targets = noise(tasks, 9, 1)
    else:
        targets = torch.eye(3, dtype=torch.float64).repeat(3, 1).expand(tasks, -1, -1)
    weights = torch.ones(tasks, 6, dtype=torch.float64)
    points = noise(tasks, 9, 2)
    return Episode(SupportSet(points[:, :6], targets[:, :6], weights), QuerySet(points[:, 6:], targets[:, 6:]))


def mean_loss(learner: NetworkMAML, tasks: Episode) -> Tensor:
    return torch.stack([learner.meta_loss(task, generator=NONE, progress=0) for task in tasks_of(tasks)]).mean()


def plain_loss(learner: NetworkMAML, tasks: Episode, *, steps: int) -> Tensor:
    """The same, matrix by matrix, without a function of ours."""
    first, _, second = learner.backbone  # type: ignore[misc]
    losses = []
    for task in tasks_of(tasks):
        weights = [first.weight, first.bias, second.weight, second.bias]  # type: ignore[has-type]

        def loss_of(own: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
            outputs = (x @ own[0].T + own[1]).clamp_min(0) @ own[2].T + own[3]
            if learner.objective == "squared_error":
                return ((outputs - y) ** 2).sum(1).mean()
            return -(y * (outputs - outputs.logsumexp(1, keepdim=True))).sum(1).mean()

        for step in range(steps):
            slopes = torch.autograd.grad(loss_of(weights, *task.support[:2]), weights, create_graph=True)
            rates = learner.rates.at(step).values()
            weights = [weight - rate * slope for weight, rate, slope in zip(weights, rates, slopes, strict=True)]
        losses.append(loss_of(weights, *task.query))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("objective", ["squared_error", "cross_entropy"])
def test_the_meta_gradient_is_that_of_a_plain_loop(objective: Objective, steps: int) -> None:
    learner, tasks = made(objective, steps=steps), episode(objective)
    loss, plain = mean_loss(learner, tasks), plain_loss(learner, tasks, steps=steps)
    torch.testing.assert_close(loss, plain, rtol=1e-12, atol=0)
    found, expected = gradients(learner, loss), gradients(learner, plain)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rates", ["layer_step", "weight"])
@pytest.mark.parametrize("objective", ["squared_error", "cross_entropy"])
def test_the_meta_gradient_agrees_with_finite_differences(objective: Objective, rates: str) -> None:
    learner, tasks = made(objective, steps=3, rates=rates), episode(objective)
    assert_agrees_with_finite_differences(learner, lambda: mean_loss(learner, tasks))


@pytest.mark.parametrize("objective", ["squared_error", "cross_entropy"])
def test_tasks_are_stacked_where_nothing_is_convolved_and_give_the_same(objective: Objective) -> None:
    learner, tasks = made(objective, steps=3).train(), episode(objective)
    assert vmaps_tasks(learner, torch.device("cpu"))
    expected = gradients(learner, mean_loss(learner, tasks))
    meta_gradient(learner, tasks, chunk=3, precision="fp32", generator=NONE, progress=0)
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-9, atol=1e-12)


def test_one_step_by_hand() -> None:
    """y = w x from w = 2 with the point (3, 9) and α = 0.1: ∂(3w − 9)²/∂w = −18, so that w becomes 3.8."""
    with torch.no_grad():
        line = torch.nn.Linear(1, 1, bias=False)
        line.weight.fill_(2)
    learner = NetworkMAML(backbone=torch.nn.Sequential(line), steps=1, rate=0.1, objective="squared_error")
    support = SupportSet(torch.tensor([[3.0]]), torch.tensor([[9.0]]), torch.ones(1))
    state = learner.adapt(support, options=AdaptOptions())
    assert float(state["0.weight"]) == pytest.approx(3.8)
    assert learner.predict(state, torch.tensor([[10.0]])).tolist() == [[pytest.approx(38)]]


def test_a_regression_takes_any_targets_and_needs_an_example() -> None:
    learner = made("squared_error", steps=1).float()
    support = SupportSet(torch.randn(3, 2), torch.tensor([[0.0], [-4.0], [0.0]]), torch.ones(3))
    assert learner.predict(learner.adapt(support, options=AdaptOptions()), torch.randn(2, 2)).shape == (2, 1)
    for empty in (support._replace(weights=torch.zeros(3)), SupportSet(*(tensor[:0] for tensor in support))):
        with pytest.raises(InvalidSupportSet, match="a regression needs at least one"):
            learner.adapt(empty, options=AdaptOptions())


def test_more_classes_than_outputs_are_refused_and_fewer_taken() -> None:
    learner = made("cross_entropy", steps=2).float()
    for ways in (2, 3):
        support = SupportSet(torch.randn(ways, 2), torch.eye(ways), torch.ones(ways))
        state = learner.adapt(support, options=AdaptOptions())
        assert learner.predict(state, torch.randn(4, 2)).shape == (4, ways)
    with pytest.raises(InvalidSupportSet, match="4 classes came; this model tells at most 3 apart"):
        learner.adapt(SupportSet(torch.randn(4, 2), torch.eye(4), torch.ones(4)), options=AdaptOptions())
