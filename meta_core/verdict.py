"""Who was best, who cannot be told from the best, and what follows."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from meta_core.intervals import mean_ci95, paired_ci95

_WORTH_SAYING = 1.5
"""Times faster or smaller, from which on it is an argument."""


@dataclass(frozen=True, eq=False)
class Result:
    """What was measured of a learner.

    Attributes:
        name: unique.
        kind: the learner's registered name.
        shipped: whether it can be served as it is.
        accuracies: of each episode, (E,); all learners were asked the same, some only the first of them.
        adapt_ms: to encode one task's examples and adapt to them.
        query_ms: to encode one query and classify it.
        state_bytes: of the adapted state.
    """

    name: str
    kind: str
    shipped: bool
    accuracies: Tensor
    adapt_ms: float
    query_ms: float
    state_bytes: int


@dataclass(frozen=True)
class Row:
    """A learner's place.

    Attributes:
        name: as of the result, and so are the other fields of that name.
        accuracy: percent, mean over its episodes.
        ci95: half width of the mean's 95 % confidence interval, percent.
        behind: how far the best is ahead, percent, mean over the episodes that both were asked.
        behind_ci95: half width of that mean's interval, paired.
        tied: whether that interval reaches 0: they cannot be told apart.
    """

    name: str
    kind: str
    shipped: bool
    accuracy: float
    ci95: float
    episodes: int
    behind: float
    behind_ci95: float
    tied: bool
    adapt_ms: float
    query_ms: float
    state_bytes: int


def rank(results: Sequence[Result]) -> list[Row]:
    """Best first; of equals the one that adapts faster."""
    best_first = sorted(results, key=lambda each: (-float(each.accuracies.mean()), each.adapt_ms))
    return [_row(each, best_first[0]) for each in best_first]


def advise(rows: Sequence[Row]) -> str:
    """One sentence: the best, and what one gets who takes another that cannot be told from it."""
    if not rows:
        return "none of them could be measured; the reasons are above"
    best, *others = rows
    said = f"use {best.name}: {_percent(best)}"
    tied = [row for row in others if row.tied]
    other = max(tied, key=lambda row: max(_faster(best, row), _smaller(best, row)), default=None)
    if other is not None and (gain := _gain(best, other)):
        said += f"; or {other.name}, which cannot be told from it on these pictures and is {gain}"
    elif tied:
        who = tied[0].name if len(tied) == 1 else f"the {len(tied)} others marked ≈"
        said += f"; {who} cannot be told from it on these pictures, but would not be much faster or smaller"
    served = next((row for row in rows if row.shipped), None)
    if served is not None and not best.shipped and served is not other:
        said += f"; of the models that are served as they are, {served.name} is the best ({_percent(served)})"
    return said


def _row(result: Result, best: Result) -> Row:
    accuracy, ci95 = mean_ci95(result.accuracies)
    behind, behind_ci95 = (0.0, 0.0) if result is best else paired_ci95(best.accuracies, result.accuracies)
    return Row(
        name=result.name,
        kind=result.kind,
        shipped=result.shipped,
        accuracy=accuracy,
        ci95=ci95,
        episodes=len(result.accuracies),
        behind=behind,
        behind_ci95=behind_ci95,
        tied=not behind > behind_ci95,
        adapt_ms=result.adapt_ms,
        query_ms=result.query_ms,
        state_bytes=result.state_bytes,
    )


def _gain(best: Row, other: Row) -> str:
    gains = []
    if _faster(best, other) >= _WORTH_SAYING:
        gains.append(f"{_times(_faster(best, other))} times faster to adapt")
    if _smaller(best, other) >= _WORTH_SAYING:
        gains.append(f"{_times(_smaller(best, other))} times smaller")
    return " and ".join(gains)


def _faster(best: Row, other: Row) -> float:
    return best.adapt_ms / other.adapt_ms


def _smaller(best: Row, other: Row) -> float:
    return best.state_bytes / max(1, other.state_bytes)


def _times(factor: float) -> str:
    return f"{factor:.0f}" if factor >= 10 else f"{factor:.1f}"


def _percent(row: Row) -> str:
    return f"{row.accuracy:.1f} ± {row.ci95:.1f} %"
