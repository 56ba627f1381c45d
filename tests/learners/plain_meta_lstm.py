"""The meta-LSTM once more, as its equations stand in the paper: one weight tensor at a time, nothing of ours."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tests.learners.plain_maml import Net


def preprocess(x: Tensor) -> tuple[Tensor, Tensor]:
    """(log|x| / p, sgn x) where |x| ≥ exp(−p), else (−1, exp(p) x); p = 10."""
    first, second = torch.empty_like(x), torch.empty_like(x)
    large = x.detach().abs() >= math.exp(-10)
    first[large], second[large] = x[large].abs().log() / 10, x[large].sign()
    first[~large], second[~large] = -torch.ones_like(x[~large]), math.exp(10) * x[~large]
    return first, second


class Coordinate:
    """All coordinates of one weight tensor, and what the two layers remember of each."""

    def __init__(self, theta: Tensor, hidden: int) -> None:
        self.theta = theta
        self.h = theta.new_zeros(*theta.shape, hidden)
        self.c = theta.new_zeros(*theta.shape, hidden)
        self.f, self.i = torch.ones_like(theta), torch.zeros_like(theta)

    def step(self, gradient: Tensor, loss: Tensor, rule: dict[str, Tensor]) -> None:
        """One step; `rule` holds both layers' weights."""
        l1, l2 = preprocess(loss[None])
        g1, g2 = preprocess(gradient)
        x = torch.stack([g1, g2, l1.expand_as(g1), l2.expand_as(g1)], dim=-1)
        gates = torch.cat([x, self.h], dim=-1) @ rule["first.weight"].T + rule["first.bias"]
        enter, forget, new, out = gates.chunk(4, dim=-1)
        self.c = torch.sigmoid(forget + 1) * self.c + torch.sigmoid(enter) * torch.tanh(new)
        self.h = torch.sigmoid(out) * torch.tanh(self.c)
        z = torch.cat([self.h, self.theta[..., None], self.f[..., None], self.i[..., None]], dim=-1)
        self.f = torch.sigmoid(z @ rule["second.weight"][0] + rule["second.bias"][0])
        self.i = torch.sigmoid(z @ rule["second.weight"][1] + rule["second.bias"][1])
        self.theta = self.f * self.theta - self.i * gradient


def meta_loss(
    net: Net,
    weights: Sequence[Tensor],
    rule: dict[str, Tensor],
    support: tuple[Tensor, Tensor],
    query: tuple[Tensor, Tensor],
    *,
    steps: int,
    hidden: int,
    second_order: bool,
) -> Tensor:
    """The queries' loss after so many steps; pictures and class numbers, as many of each class."""
    pictures, labels = support
    ways = int(labels.max()) + 1
    features = net.features(weights, pictures)
    centre = torch.stack([features[labels == c].mean(0) for c in range(ways)]).mean(0)
    start = [*weights, torch.zeros_like(features[:ways]), features.new_zeros(ways)]
    coordinates = [Coordinate(theta, hidden) for theta in start]
    for _ in range(steps):
        now = [own.theta if own.theta.requires_grad else own.theta.requires_grad_() for own in coordinates]
        logits = (net.features(now[:-2], pictures) - centre) @ now[-2].T + now[-1]
        loss = F.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(loss, now, create_graph=True, allow_unused=False)
        if not second_order:
            loss, gradients = loss.detach(), tuple(gradient.detach() for gradient in gradients)
        for place, (own, gradient) in enumerate(zip(coordinates, gradients, strict=True)):
            own.step(gradient * (ways if place >= len(weights) else 1), loss, rule)
    *backbone, head, bias = (own.theta for own in coordinates)
    return F.cross_entropy((net.features(backbone, query[0]) - centre) @ head.T + bias, query[1])
