"""The meta-LSTM: its equations; its meta-gradient in float64, against a plain loop, stacks, finite differences."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from meta_core.backbones import conv4
from meta_core.episode import Episode, tasks_of
from meta_core.learned_descent import LearnedDescent
from meta_core.learner import AdaptOptions
from meta_core.learners.meta_lstm import MetaLSTM
from meta_core.meta_step import vmaps_tasks
from tests.learners import plain_meta_lstm
from tests.learners.gradients import SIDE, assert_same, episode, gradients, loss_of, slope_along
from tests.learners.plain_maml import Net

HIDDEN, STEPS = 3, 3


def made(*, second_order: bool, steps: int = STEPS) -> MetaLSTM:
    """Two blocks in float64; every gate is somewhere in the middle, so that each counts."""
    generator = torch.Generator().manual_seed(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        full = conv4.build(input_shape=(1, SIDE, SIDE), width=8, norm="group")
        backbone = nn.Sequential(*list(full)[:2], nn.Flatten())
        learner = MetaLSTM(
            backbone=backbone, steps=steps, hidden=HIDDEN, forget=0.9, rate=0.2, second_order=second_order
        )
    learner.double().train()
    for parameter in learner.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.mul_(1 + 0.1 * noise)
    learner.descent.second.weight.data.mul_(20)
    return learner


def plain_loss(learner: MetaLSTM, tasks: Episode) -> Tensor:
    backbone: Any = learner.backbone
    weights = [weight for block in backbone[:2] for weight in (block[0].weight, block[1].weight, block[1].bias)]
    rule = dict(learner.descent.named_parameters())
    losses = [
        plain_meta_lstm.meta_loss(
            Net("group"),
            weights,
            rule,
            (task.support.inputs, task.support.targets.argmax(-1)),
            (task.query.inputs, task.query.targets.argmax(-1)),
            steps=learner.steps,
            hidden=HIDDEN,
            second_order=learner.second_order,
        )
        for task in tasks_of(tasks)
    ]
    return torch.stack(losses).mean()


@pytest.mark.parametrize("second_order", [False, True])
def test_the_meta_gradient_is_that_of_the_papers_equations(second_order: bool) -> None:
    learner, tasks = made(second_order=second_order), episode()
    loss, plain = loss_of(learner, tasks), plain_loss(learner, tasks)
    torch.testing.assert_close(loss, plain, rtol=1e-10, atol=0)
    assert_same(gradients(learner, loss), gradients(learner, plain), tolerance=1e-8)


@pytest.mark.parametrize("second_order", [False, True])
def test_stacked_tasks_give_the_meta_gradient_of_single_ones(second_order: bool) -> None:
    learner, tasks, generator = made(second_order=second_order), episode(), torch.Generator()
    assert vmaps_tasks(learner, torch.device("cuda"))
    losses = torch.vmap(lambda task: learner.meta_loss(task, generator=generator, progress=0.5))(tasks)
    assert_same(gradients(learner, losses.mean()), gradients(learner, loss_of(learner, tasks)), tolerance=1e-8)


def test_the_second_order_meta_gradient_agrees_with_finite_differences() -> None:
    learner, tasks = made(second_order=True), episode(1)
    exact, generator = gradients(learner, loss_of(learner, tasks)), torch.Generator().manual_seed(9)
    for key, parameter in learner.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        slope = slope_along(learner, tasks, parameter, direction)
        assert slope == pytest.approx(float((exact[key] * direction).sum()), rel=1e-4, abs=1e-8), key


def test_what_the_paper_drops_is_not_nothing() -> None:
    """The same loss, another gradient: or the option would do nothing."""
    tasks = episode(1)
    both = [made(second_order=order) for order in (False, True)]
    losses = [loss_of(learner, tasks) for learner in both]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)
    short, whole = (
        torch.cat([g.flatten() for g in gradients(learner, loss).values()])
        for learner, loss in zip(both, losses, strict=True)
    )
    assert float((short - whole).norm() / whole.norm()) > 1e-2


def test_gates_that_are_constants_make_plain_descent() -> None:
    """f = 1 and i = α: θ − α ∇, which is what the rule starts near."""
    rule = LearnedDescent(hidden=4, forget=1 - 1e-12, rate=0.25).double()
    nn.init.zeros_(rule.second.weight)
    theta, slope = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([0.4, 1e-9, -3.0]).double()
    stepped = rule.step(rule.start(theta), slope, torch.tensor(1.6).double())
    torch.testing.assert_close(stepped.weights, theta - 0.25 * slope, rtol=1e-6, atol=1e-6)


def test_a_request_may_set_steps_and_rate() -> None:
    learner = made(second_order=False).eval()
    task = next(tasks_of(episode(1)))
    own = learner.adapt(task.support, options=AdaptOptions())
    for options in (AdaptOptions(steps=1), AdaptOptions(rate=0.5)):
        other = learner.adapt(task.support, options=options)
        assert any(not torch.equal(own[name], other[name]) for name in own)
    longer = copy.deepcopy(learner)
    longer.steps = 7
    asked, built = (
        learner.adapt(task.support, options=AdaptOptions(steps=7)),
        longer.adapt(task.support, options=AdaptOptions()),
    )
    assert all(torch.equal(asked[name], built[name]) for name in asked)
