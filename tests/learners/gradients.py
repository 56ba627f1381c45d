"""Learners that adapt by gradient, two blocks wide in float64, and what their meta-gradients are held to."""

from typing import Any

import torch
from torch import Tensor, nn

from meta_core import heads
from meta_core.backbones import conv4
from meta_core.episode import Episode, tasks_of
from meta_core.learner import Learner
from meta_core.learners.maml import MAML
from meta_core.registry import LEARNERS
from tests.learners import plain_maml
from tests.learners.made_up_tasks import sample

SIDE, WAYS, SHOTS = 12, 3, 2
KINDS: dict[str, dict[str, Any]] = {
    "maml": {"rate": 0.3, "head_rate": 0.2},
    "meta_sgd": {"rate": 0.3, "head_rate": 0.2},
    "proto_maml": {"rate": 0.2, "head_rate": 0.1, "scale": 0.05},
    "fomaml": {"rate": 0.3, "head_rate": 0.2},
}
NORMS = ("group", "batch", "untracked", "frozen")
STEPS = (1, 5)


def made(name: str, *, norm: str, steps: int, **options: Any) -> MAML:
    """A learner of two blocks in float64, in training mode as the trainer has it; no two rates are alike."""
    generator = torch.Generator().manual_seed(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        full = conv4.build(input_shape=(1, SIDE, SIDE), width=8, norm="group" if norm == "group" else "batch")
        backbone = nn.Sequential(*list(full)[:2], nn.Flatten())
        learner: MAML = LEARNERS.build(name, backbone=backbone, steps=steps, **KINDS[name], **options)
    learner.double().train()
    for buffer_name, buffer in learner.named_buffers():
        if "running" in buffer_name:
            buffer.copy_(torch.rand(buffer.shape, generator=generator, dtype=torch.float64) + 0.5)
    if norm == "untracked":
        for module in learner.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats, module.running_mean, module.running_var = False, None, None
    for parameter in learner.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.mul_(1 + 0.1 * noise)
    if norm == "frozen":
        learner.eval()
    return learner


def episode(tasks: int = 2) -> Episode:
    drawn = sample(tasks, torch.Generator().manual_seed(5), ways=WAYS, shots=SHOTS, queries=2)
    support = drawn.support._replace(
        inputs=drawn.support.inputs[..., 8 : 8 + SIDE, 8 : 8 + SIDE].double(),
        targets=drawn.support.targets.double(),
        weights=drawn.support.weights.double(),
    )
    query = drawn.query._replace(
        inputs=drawn.query.inputs[..., 8 : 8 + SIDE, 8 : 8 + SIDE].double(), targets=drawn.query.targets.double()
    )
    return Episode(support, query)


def loss_of(learner: Learner, tasks: Episode) -> Tensor:
    generator = torch.Generator()
    losses = [learner.meta_loss(task, generator=generator, progress=0.5) for task in tasks_of(tasks)]
    return torch.stack(losses).mean()


def plain_loss(learner: MAML, tasks: Episode, *, norm: str, name: str, steps: int) -> Tensor:
    blocks = [(learner.backbone[i][0], learner.backbone[i][1]) for i in range(2)]  # type: ignore[index]
    running = [(n.running_mean, n.running_var) for _, n in blocks] if norm == "frozen" else ()
    net = plain_maml.Net("batch" if norm == "untracked" else norm, running)  # type: ignore[arg-type]
    weights = [weight for conv, n in blocks for weight in (conv.weight, n.weight, n.bias)]
    names = [key for key, _ in learner.backbone.named_parameters()] + [heads.WEIGHT, heads.BIAS]
    rates = [[learner.rates.at(step)[key] for key in names] for step in range(steps)]
    losses = []
    for task in tasks_of(tasks):
        support = (task.support.inputs, task.support.targets.argmax(-1))
        query = (task.query.inputs, task.query.targets.argmax(-1))
        scale = learner.scale if name == "proto_maml" else None
        losses.append(
            plain_maml.meta_loss(
                net, weights, support, query, rates=rates, prototypes=scale, first_order=name == "fomaml"
            )
        )
    return torch.stack(losses).mean()


def gradients(learner: Learner, loss: Tensor) -> dict[str, Tensor]:
    named = dict(learner.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
    return dict(zip(named, found, strict=True))


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], *, tolerance: float) -> None:
    """Relative L2 difference of each weight's gradient, and none of them all zero."""
    largest = max(float(gradient.norm()) for gradient in expected.values())
    for name, gradient in expected.items():
        assert float((found[name] - gradient).norm()) <= tolerance * max(float(gradient.norm()), 1e-3 * largest), name
    assert largest > 1e-3


def slope_along(learner: Learner, tasks: Episode, parameter: nn.Parameter, direction: Tensor) -> float:
    """Central difference along a direction drawn on the CPU."""
    width, start, sides = 1e-6, parameter.detach().clone(), []
    for sign in (1, -1):
        parameter.data.copy_(start + sign * width * direction.to(start.device))
        sides.append(float(loss_of(learner, tasks).detach()))
    parameter.data.copy_(start)
    return (sides[0] - sides[1]) / (2 * width)
