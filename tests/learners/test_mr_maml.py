"""MR-MAML: its gradient in float64 with the noise held, and service by the means."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from meta_core.backbones import mlp
from meta_core.episode import Episode, tasks_of
from meta_core.learner import AdaptOptions
from meta_core.learners.mr_maml import MRMAML
from meta_core.objectives import Objective
from tests.learners.checks import assert_agrees_with_finite_differences, gradients
from tests.learners.test_network_maml import episode

BOTTLENECKS = ("weights", "activations")
BETA = 0.01


def made(bottleneck: str, *, objective: Objective = "cross_entropy", **options: Any) -> MRMAML:
    """Two layers that encode and one that is adapted, in float64, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        backbone = mlp.build(input_shape=(2,), hidden=[5, 4], outputs=1 if objective == "squared_error" else 3)
        given = {"beta": BETA, "noise": 0.3, "steps": 2, "rate": 0.2} | options
        learner = MRMAML(backbone=backbone, bottleneck=bottleneck, objective=objective, **given)  # type: ignore[arg-type]
        learner.double().train()
        for parameter in learner.parameters():
            parameter.data.mul_(1 + 0.1 * torch.randn_like(parameter))
    return learner


def mean_loss(learner: MRMAML, tasks: Episode) -> Tensor:
    """With the same noise at every call."""
    generator = torch.Generator().manual_seed(11)
    return torch.stack([learner.meta_loss(task, generator=generator, progress=0) for task in tasks_of(tasks)]).mean()


def plain_loss(learner: MRMAML, tasks: Episode) -> Tensor:
    """Algorithms 1 and 2 of the paper, weight by weight; only the order in which noise is drawn is known from ours."""
    generator, losses = torch.Generator().manual_seed(11), []
    layers = [learner.backbone[place] for place in (0, 2, 4)]  # type: ignore[index]
    for task in tasks_of(tasks):
        means = [tensor for layer in layers[:2] for tensor in (layer.weight, layer.bias)]
        inputs = torch.cat([task.support.inputs, task.query.inputs])
        if learner.bottleneck == "weights":
            deviations = [log.exp() for log in learner.log_spreads]
            drawn = []
            for mean, deviation in zip(means, deviations, strict=True):
                noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
                drawn.append(mean + deviation * noise)
            nats = torch.stack([normal_kl(m, s) for m, s in zip(means, deviations, strict=True)]).sum()
            z = F.relu(F.relu(inputs @ drawn[0].T + drawn[1]) @ drawn[2].T + drawn[3])
        else:
            clean = F.relu(F.relu(inputs @ means[0].T + means[1]) @ means[2].T + means[3])
            deviation = learner.log_spreads[0].exp()
            z = clean + deviation * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
            asked = clean[len(task.support.inputs) :]
            nats = torch.stack([normal_kl(row, deviation.expand(4)) for row in asked]).mean()
        support, query = z[: len(task.support.inputs)], z[len(task.support.inputs) :]
        weight, bias = layers[2].weight, layers[2].bias
        for step in range(learner.steps):
            outputs = support @ weight.T + bias
            slopes = torch.autograd.grad(
                objective(learner, outputs, task.support.targets), [weight, bias], create_graph=True
            )
            rates = list(learner.rates.at(step).values())
            weight, bias = weight - rates[0] * slopes[0], bias - rates[1] * slopes[1]
        losses.append(objective(learner, query @ weight.T + bias, task.query.targets) + BETA * nats)
    return torch.stack(losses).mean()


def objective(learner: MRMAML, outputs: Tensor, targets: Tensor) -> Tensor:
    if learner.objective == "squared_error":
        return ((outputs - targets) ** 2).sum(1).mean()
    return F.cross_entropy(outputs, targets.argmax(1))


def normal_kl(mean: Tensor, deviation: Tensor) -> Tensor:
    """As torch has it."""
    ours = torch.distributions.Normal(mean, deviation)
    return torch.distributions.kl_divergence(ours, torch.distributions.Normal(0.0, 1.0)).sum()


@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_the_meta_gradient_is_that_of_a_plain_loop(bottleneck: str, kind: Objective) -> None:
    learner, tasks = made(bottleneck, objective=kind), episode(kind)
    loss, plain = mean_loss(learner, tasks), plain_loss(learner, tasks)
    torch.testing.assert_close(loss, plain, rtol=1e-12, atol=0)
    found, expected = gradients(learner, loss), gradients(learner, plain)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
    spreads = [name for name in expected if name.startswith("log_spreads")]
    assert len(spreads) == (4 if bottleneck == "weights" else 1)
    assert all(float(expected[name].abs().max()) > 0 for name in spreads)


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_the_meta_gradient_agrees_with_finite_differences(bottleneck: str) -> None:
    learner, tasks = made(bottleneck), episode("cross_entropy")
    assert_agrees_with_finite_differences(learner, lambda: mean_loss(learner, tasks))


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_each_task_draws_its_own_noise_from_the_generator_alone(bottleneck: str) -> None:
    learner, task = made(bottleneck), next(tasks_of(episode("cross_entropy")))
    generator, state = torch.Generator().manual_seed(1), torch.get_rng_state()
    first, second = (float(learner.meta_loss(task, generator=generator, progress=0).detach()) for _ in range(2))
    again = float(learner.meta_loss(task, generator=torch.Generator().manual_seed(1), progress=0).detach())
    assert first != second
    assert first == again
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_bottleneck_it_is_maml_of_the_last_layers() -> None:
    """As with a bottleneck that lets everything through, and with nothing else to learn than MAML has."""
    learner, tasks = made("none"), episode("cross_entropy")
    open_wide = made("weights", beta=0.0, noise=1e-30)
    open_wide.load_state_dict(learner.state_dict(), strict=False)
    loss, expected = mean_loss(learner, tasks), mean_loss(open_wide, tasks)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    found, wide = gradients(learner, loss), gradients(open_wide, expected)
    assert found.keys() == {name for name in wide if not name.startswith("log_spreads")}
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wide[name], rtol=1e-9, atol=1e-12)


def test_it_is_served_without_noise_and_the_same_each_time() -> None:
    learner, task = made("weights", noise=100.0).eval(), next(tasks_of(episode("cross_entropy")))
    support = task.support._replace(inputs=learner.encode(task.support.inputs))
    answers = [
        learner.predict(learner.adapt(support, options=AdaptOptions()), learner.encode(task.query.inputs))
        for _ in range(2)
    ]
    assert torch.equal(*answers)
    assert float(answers[0].detach().abs().max()) < 10


@pytest.mark.parametrize(("adapted", "names"), [(1, {"4"}), (2, {"2", "4"}), (9, {"0", "2", "4"})])
def test_the_last_layers_with_weights_are_adapted_and_the_others_noisy(adapted: int, names: set[str]) -> None:
    learner = made("weights", adapted=adapted)
    moved = {id(parameter) for parameter in learner.head.parameters()}
    assert {key.split(".")[0] for key, own in learner.backbone.named_parameters() if id(own) in moved} == names
    assert len(learner.log_spreads) == 2 * (3 - len(names))
