"""Temperatures: the likeliest of what a learner answered, and how far confidence is then from being right."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from meta_core.calibration import MOST, Temperature

_BINS = 15
_PENALTY = 1e-3


class Asked(NamedTuple):
    """A domain's answers at one number of ways and shots.

    Attributes:
        logits: (E, Q, C).
        hardness: of each task, (E,).
        weight: of the domain.
    """

    logits: Tensor
    hardness: Tensor
    weight: float

    @property
    def labels(self) -> Tensor:
        """True classes (E, Q)."""
        tasks, queries, ways = self.logits.shape
        return torch.arange(ways).repeat_interleave(queries // ways).expand(tasks, -1)

    def chances(self, temperatures: Tensor) -> Tensor:
        """(E,) temperatures → probabilities (E, Q, C)."""
        return (self.logits / temperatures[:, None, None]).softmax(-1)


class Sharpness(NamedTuple):
    """Hardness of tasks (E,) → their temperatures (E,)."""

    log_temperature: float
    slope: float
    centre: float

    def __call__(self, hardness: Tensor) -> Tensor:
        """(E,) → (E,)."""
        return (self.log_temperature + (self.slope * (hardness - self.centre)).clamp(-MOST, MOST)).exp()

    def at(self, ways: int, shots: int) -> Temperature:
        """As the card keeps it."""
        return Temperature(
            ways=ways,
            shots=shots,
            temperature=math.exp(self.log_temperature),
            slope=self.slope,
            centre=self.centre,
        )

    @classmethod
    def of(cls, asked: Sequence[Asked]) -> "Sharpness":
        """The likeliest of these domains' answers."""
        hardness = torch.cat([each.hardness for each in asked]).double()
        centre, spread = float(hardness.mean()), float(hardness.std().clamp_min(1e-9))
        sought = torch.tensor([_warmest(asked), 0.0], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([sought], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            total = _PENALTY * sought[1].square()
            for each in asked:
                moved = (sought[1] * (each.hardness - centre) / spread).clamp(-MOST, MOST)
                total = total + _loss(each, sought[0] + moved)
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        log_temperature, slope = sought.tolist()
        if not math.isfinite(slope) or abs(log_temperature - _warmest(asked)) > MOST:  # all right or all alike
            log_temperature, slope = _warmest(asked), 0.0
        return cls(log_temperature, slope / spread, centre)


def _warmest(asked: Sequence[Asked]) -> float:
    """The best of many temperatures that are the same for all tasks, as a logarithm."""
    candidates = torch.linspace(-5, 8, 53, dtype=torch.float64)
    losses = [sum(float(_loss(each, one.expand(len(each.logits)))) for each in asked) for one in candidates]
    return float(candidates[losses.index(min(losses))])


def _loss(asked: Asked, log_temperatures: Tensor) -> Tensor:
    logits = asked.logits / log_temperatures.exp()[:, None, None]
    return asked.weight * cross_entropy(logits.flatten(0, 1), asked.labels.flatten())


def calibration_error(confidence: Tensor, right: Tensor) -> float:
    """Expected calibration error (Naeini et al. 2015): |accuracy − confidence|, mean over 15 bins of equal width.

    Args:
        confidence: (N,) probabilities of what was answered.
        right: (N,) bool, whether that was right.
    """
    bins = (confidence * _BINS).long().clamp_max(_BINS - 1)
    gaps = torch.zeros(_BINS, dtype=torch.float64).index_add_(0, bins, right.double() - confidence.double())
    return float(gaps.abs().sum() / len(confidence))
