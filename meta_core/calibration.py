"""What turns a model's logits into probabilities that mean what they say, as its card keeps it."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

DECIDES = 0.8
"""Area under the ROC curve from which on “none of these” is decided without being asked for."""

KnownAs = Literal["left out", "held-out classes", "evaluation only"]
"""How a domain's figures are to be read: of what was left out of the fit and else is in it; of classes that were not;
of what nothing was fitted to."""

MOST = 1.0
"""Change of a temperature's logarithm by one task's hardness: beyond what tasks of the fitted domains need."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Temperature(_Strict):
    """What logits are divided by, at so many ways and shots: T exp(slope · (hardness − centre))."""

    ways: int
    shots: int
    temperature: PositiveFloat
    slope: float = Field(default=0.0, description="how much less sure to be where the examples look hard to tell apart")
    centre: float = Field(default=0.0, description="usual hardness of the fitted domains' tasks")


class NoneOfThese(_Strict):
    """Logistic regression on `open_set.statistics`: how probable it is that a query is of no class that was shown."""

    shots: int = Field(description="examples a class that it was fitted with")
    weights: tuple[float, ...] = Field(description="of each statistic")
    bias: float
    threshold: float = Field(ge=0, le=1, description="refuses 5 % of known queries, over all left-out domains")
    auroc: float = Field(description="mean over left-out domains")

    @property
    def decides(self) -> bool:
        """Whether it is good enough to answer “none of these” without being asked for."""
        return self.auroc >= DECIDES


class DomainFigures(_Strict):
    """How the calibration does on one domain that it was not fitted to, at 5 ways."""

    domain: str
    known_as: KnownAs
    shots: int
    episodes: int
    accuracy: float = Field(description="percent")
    ece: float = Field(description="expected calibration error: 15 bins of equal width")
    auroc: float | None = Field(default=None, description="of “none of these”; null where there is none")
    cosine_auroc: float | None = Field(default=None, description="of the largest cosine to a class mean, to compare")
    refused_known: float | None = Field(default=None, description="share of known queries over the threshold")
    accepted_unknown: float | None = Field(default=None, description="share of unknown queries under it")


class Calibration(_Strict):
    """Temperatures by ways and shots, and an open-set probability by shots."""

    data: str = Field(description="what it was fitted to")
    temperatures: list[Temperature] = Field(min_length=1)
    none_of_these: list[NoneOfThese] = Field(default=[], description="by shots, fewest first")
    domains: list[DomainFigures] = []

    def temperature(self, shots: Sequence[int], *, hardness: float | None = None) -> float:
        """For a task with so many examples of each class: between the fitted ones, bilinear in the logarithms.

        Beyond the fitted ways and shots it is that of the nearest; uneven shots count as their geometric mean.

        Args:
            shots: of each class.
            hardness: `support_summary.hardness`, if it is known.
        """
        fitted = {(each.ways, each.shots): each for each in self.temperatures}
        log = self._at(shots, {at: math.log(each.temperature) for at, each in fitted.items()})
        if hardness is not None and math.isfinite(hardness):
            slope = self._at(shots, {at: each.slope for at, each in fitted.items()})
            centre = self._at(shots, {at: each.centre for at, each in fitted.items()})
            log += min(MOST, max(-MOST, slope * (hardness - centre)))
        return math.exp(log)

    def _at(self, shots: Sequence[int], table: dict[tuple[int, int], float]) -> float:
        rows = sorted({ways for ways, _ in table})
        by_ways = [
            _between(
                _log_mean(shots),
                [(math.log(own), value) for (ways, own), value in sorted(table.items()) if ways == row],
            )
            for row in rows
        ]
        return _between(math.log(len(shots)), list(zip(map(math.log, rows), by_ways, strict=True)))

    def none_at(self, shots: Sequence[int]) -> NoneOfThese | None:
        """That which was fitted with the nearest number of shots, and with one only if no class has more."""
        fitted = [each for each in self.none_of_these if (each.shots == 1) == (max(shots) == 1)]
        return min(fitted, key=lambda each: abs(math.log(each.shots) - _log_mean(shots)), default=None)


def _log_mean(shots: Sequence[int]) -> float:
    return sum(map(math.log, shots)) / len(shots)


def _between(x: float, points: Sequence[tuple[float, float]]) -> float:
    """Linear interpolation of (x, y) in order of x; the end points' values beyond them."""
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x <= x1:
            share = min(1.0, max(0.0, (x - x0) / (x1 - x0)))
            return y0 + share * (y1 - y0)
    return points[-1][1]
