"""Pure arithmetic on what was measured."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.load import Seen


class Quartiles(NamedTuple):
    """Of figures round by round."""

    lower: float
    middle: float
    upper: float


class Cell(NamedTuple):
    """What a load showed.

    Attributes:
        per_second: requests answered 200.
        p50: milliseconds, from when a request was due.
        p90: the same.
        p99: the same.
        errors: share of requests that were answered otherwise, or not at all, or could not be sent.
        generator_cores: processor cores that the load generator itself took.
    """

    per_second: float
    p50: float
    p90: float
    p99: float
    errors: float
    generator_cores: float

    def as_json(self) -> dict[str, float | None]:
        """By name; None for what is no number, which JSON has no word for."""
        return {name: None if math.isnan(value) else value for name, value in self._asdict().items()}


NOTHING = Cell(0.0, math.nan, math.nan, math.nan, 1.0, 0.0)
"""Of a server that did not start."""


def quartiles(values: Sequence[float]) -> Quartiles:
    """The lower, the median, the upper; of a single value, itself thrice."""
    if len(values) < 2:
        return Quartiles(values[0], values[0], values[0])
    return Quartiles(*statistics.quantiles(values, n=4, method="inclusive"))


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Quartiles:
    """Of figures of the same rounds: round by round, so that what disturbs the machine disturbs both.

    What was nothing gives infinity: a peer that answered no request.
    """
    pairs = zip(numerators, denominators, strict=True)
    return quartiles([above / below if below else math.inf for above, below in pairs])


def cell(seen: Seen) -> Cell:
    """Out of what `benchmarks/load.py` saw."""
    good, bad = sorted(seen.good_seconds), seen.shed + seen.not_sent + sum(seen.wrong.values())
    asked = len(good) + bad
    return Cell(
        per_second=len(good) / seen.seconds,
        p50=1000 * percentile(good, 50),
        p90=1000 * percentile(good, 90),
        p99=1000 * percentile(good, 99),
        errors=bad / asked if asked else 0.0,
        generator_cores=seen.cpu_seconds / seen.seconds,
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed; not a number where there is none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def floor_per_second(*, decode_seconds: float, forward_seconds: float, pictures: int = 1) -> float:
    """Requests a second that no server can exceed whose cores do nothing but decode and encode.

    Args:
        decode_seconds: of a picture, all cores decoding.
        forward_seconds: of a picture, all cores encoding.
        pictures: of a request.
    """
    return 1 / (pictures * (decode_seconds + forward_seconds))
