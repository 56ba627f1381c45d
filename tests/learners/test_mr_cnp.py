"""MR-CNP: its gradient in float64 with the noise held, which weights are noisy, and service by the means."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from meta_core.backbones import mlp
from meta_core.batching import encode_episode
from meta_core.bottleneck import Bottleneck
from meta_core.episode import Episode, tasks_of
from meta_core.learner import AdaptOptions
from meta_core.learners.cnp import CNP
from meta_core.learners.mr_cnp import MRCNP
from meta_core.meta_step import meta_gradient
from meta_core.objectives import Objective
from tests.learners.checks import assert_agrees_with_finite_differences, gradients
from tests.learners.test_network_maml import episode

BOTTLENECKS = ("weights", "activations")
BETA = 0.01


def made(bottleneck: Bottleneck, *, objective: Objective = "squared_error", **options: Any) -> MRCNP:
    """Two layers that encode and a narrow process, in float64, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        backbone = mlp.build(input_shape=(2,), hidden=[5], outputs=4)
        given = {"features": 4, "width": 6, "beta": BETA, "noise": 0.3} | options
        learner = MRCNP(backbone=backbone, bottleneck=bottleneck, objective=objective, **given)
        learner.double().train()
        for parameter in learner.parameters():
            parameter.data.mul_(1 + 0.1 * torch.randn_like(parameter))
    return learner


def mean_loss(learner: MRCNP, tasks: Episode) -> Tensor:
    """With the same noise at every call."""
    generator = torch.Generator().manual_seed(11)
    return torch.stack([learner.meta_loss(task, generator=generator, progress=0) for task in tasks_of(tasks)]).mean()


def plain_loss(learner: MRCNP, tasks: Episode) -> Tensor:
    """The regression by plain matrices; only the order in which noise is drawn is known from ours."""
    generator, losses = torch.Generator().manual_seed(11), []
    first, second = learner.backbone[0], learner.backbone[2]  # type: ignore[index]
    means = [first.weight, first.bias, second.weight, second.bias]
    deviations = [log.exp() for log in learner.log_spreads]
    for task in tasks_of(tasks):
        inputs = torch.cat([task.support.inputs, task.query.inputs])
        if learner.bottleneck == "weights":
            drawn = [
                mean + deviation * noise(mean, generator) for mean, deviation in zip(means, deviations, strict=True)
            ]
            nats = torch.stack([normal_kl(m, s) for m, s in zip(means, deviations, strict=True)]).sum()
            z = F.relu(inputs @ drawn[0].T + drawn[1]) @ drawn[2].T + drawn[3]
        else:
            clean = F.relu(inputs @ means[0].T + means[1]) @ means[2].T + means[3]
            z = clean + deviations[0] * noise(clean, generator)
            nats = torch.stack([normal_kl(row, deviations[0].expand(4)) for row in clean[6:]]).mean()
        said = learner.process.represent(torch.cat([z[:6], task.support.targets], 1)).sum(0) / 6
        gain, shift = learner.process.of_class(said).split(6)
        about = (1 + gain) * learner.process.of_query(z[6:]) + shift + learner.process.of_task(said)
        answers = learner.process.decode(about)
        losses.append(((answers - task.query.targets) ** 2).mean() + BETA * nats)
    return torch.stack(losses).mean()


def noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=torch.float64)


def normal_kl(mean: Tensor, deviation: Tensor) -> Tensor:
    """As torch has it."""
    ours = torch.distributions.Normal(mean, deviation)
    return torch.distributions.kl_divergence(ours, torch.distributions.Normal(0.0, 1.0)).sum()


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_the_meta_gradient_is_that_of_plain_matrices(bottleneck: Bottleneck) -> None:
    learner, tasks = made(bottleneck), episode("squared_error")
    loss, plain = mean_loss(learner, tasks), plain_loss(learner, tasks)
    torch.testing.assert_close(loss, plain, rtol=1e-12, atol=0)
    found, expected = gradients(learner, loss), gradients(learner, plain)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
    spreads = [name for name in expected if name.startswith("log_spreads")]
    assert len(spreads) == (4 if bottleneck == "weights" else 1)
    assert all(float(expected[name].abs().max()) > 0 for name in spreads)


@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_the_meta_gradient_agrees_with_finite_differences(bottleneck: Bottleneck, kind: Objective) -> None:
    learner, tasks = made(bottleneck, objective=kind), episode(kind)
    assert_agrees_with_finite_differences(learner, lambda: mean_loss(learner, tasks))


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_the_trainer_s_step_takes_each_task_s_own_noise(bottleneck: Bottleneck) -> None:
    learner, tasks = made(bottleneck), episode("squared_error")
    expected = gradients(learner, mean_loss(learner, tasks))
    generator = torch.Generator().manual_seed(11)
    meta_gradient(learner, tasks, chunk=3, precision="fp32", generator=generator, progress=0)
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_it_is_served_without_noise_and_the_same_each_time(bottleneck: Bottleneck) -> None:
    learner = made(bottleneck, noise=100.0).eval()
    (task,) = tasks_of(encode_episode(learner, episode("squared_error", tasks=1)))
    answers = [
        learner.predict(learner.adapt(task.support, options=AdaptOptions()), task.query.inputs) for _ in range(2)
    ]
    assert torch.equal(*answers)
    assert float(answers[0].detach().abs().max()) < 10


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_without_noise_and_price_it_is_a_cnp(bottleneck: Bottleneck) -> None:
    learner, tasks = made(bottleneck, beta=0.0, noise=1e-30), episode("squared_error")
    plain = CNP(backbone=learner.backbone, features=4, width=6, objective="squared_error").double()
    plain.load_state_dict(learner.process.state_dict(), strict=False)
    encoded = encode_episode(plain, tasks)
    losses = plain.meta_losses(encoded, generator=torch.Generator(), progress=0)
    torch.testing.assert_close(mean_loss(learner, tasks), losses.mean())
