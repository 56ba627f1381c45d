"""A descent rule that is learned: one small LSTM, the same for every coordinate, with a memory of its own for each."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

_SMALLEST_LOG = 10.0
"""p of the paper: magnitudes below exp(−p) are told by their value, larger ones by their logarithm."""


class Descent(NamedTuple):
    """Where each coordinate is, and what the rule remembers of it.

    Attributes:
        weights: (N,), the cell state of the second layer.
        hidden: (N, H), of the first.
        cell: (N, H), of the first.
        forget: (N,), the last forget gate.
        learn: (N,), the last input gate.
    """

    weights: Tensor
    hidden: Tensor
    cell: Tensor
    forget: Tensor
    learn: Tensor


class LearnedDescent(nn.Module):
    """θ_t = f_t θ_{t−1} − i_t ∇_t, coordinate by coordinate (Ravi & Larochelle 2017, 3.2).

    Both gates read what a first, ordinary LSTM makes of the gradient and the loss, the weight itself and their own last
    value. `nn.LSTM` has no batching rule under `torch.vmap`: the first layer is written out.

    Args:
        hidden: units of the first layer.
        forget: what the forget gate is at first: nearly 1, or weights shrink before there is anything to learn.
        rate: what the input gate, which is the learning rate, is at first.
    """

    def __init__(self, *, hidden: int, forget: float, rate: float) -> None:
        super().__init__()
        self.hidden = hidden
        self.first = nn.Linear(4 + hidden, 4 * hidden)
        self.second = nn.Linear(hidden + 3, 2)
        nn.init.normal_(self.second.weight, std=0.01)
        self.second.bias.data = torch.tensor([_logit(forget), _logit(rate)])

    def start(self, weights: Tensor) -> Descent:
        """At θ_0 (N,), nothing remembered."""
        nothing = weights.new_zeros(len(weights), self.hidden)
        return Descent(weights, nothing, nothing, torch.ones_like(weights), torch.zeros_like(weights))

    def step(self, now: Descent, gradient: Tensor, loss: Tensor, *, rate: float = 1.0) -> Descent:
        """One step.

        Args:
            now: where the coordinates are.
            gradient: (N,), there.
            loss: (), there.
            rate: factor on the input gate.
        """
        seen = [_readable(gradient), _readable(loss).expand(len(gradient), -1), now.hidden]
        enter, forget, new, out = self.first(torch.cat(seen, dim=-1)).chunk(4, dim=-1)
        cell = (forget + 1).sigmoid() * now.cell + enter.sigmoid() * new.tanh()
        hidden = out.sigmoid() * cell.tanh()
        known = torch.stack([now.weights, now.forget, now.learn], dim=-1)
        keep, learn = self.second(torch.cat([hidden, known], dim=-1)).sigmoid().unbind(-1)
        return Descent(keep * now.weights - rate * learn * gradient, hidden, cell, keep, learn)


def _readable(values: Tensor) -> Tensor:
    """Numbers of all magnitudes as two of magnitude 1 (Andrychowicz et al. 2016, appendix A): (…) → (…, 2)."""
    sizes, least = values.abs(), math.exp(-_SMALLEST_LOG)
    large = sizes >= least
    logs = torch.where(large, torch.where(large, sizes, 1).log() / _SMALLEST_LOG, -1)
    return torch.stack([logs, torch.where(large, values.sign(), values / least)], dim=-1)


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
