"""Who was best, who cannot be told from the best, and what follows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from meta_core.errors import UnknownName
from meta_core.intervals import mean_ci95, mean_of_means, paired_ci95

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
        behind: how far the best, or whoever all are held against, is ahead, percent, mean over the episodes that both
            were asked.
        behind_ci95: half width of that mean's interval, paired.
        tied: whether that interval holds 0: they cannot be told apart.
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


def rank(results: Sequence[Result], *, against: str | None = None) -> list[Row]:
    """Best first; of equals the one that adapts faster.

    Args:
        results: of the same episodes.
        against: name of whom all are held against; the best if not given.

    Raises:
        UnknownName: `against` is not among them.
    """
    best_first = sorted(results, key=lambda each: (-float(each.accuracies.mean()), each.adapt_ms))
    reference = _named(best_first, against)
    return [_row(each, reference) for each in best_first]


def pool(of_data: Sequence[Sequence[Result]], *, against: str | None = None) -> list[Row]:
    """The mean over several data, each counting the same, of whoever was measured on all; best first.

    Args:
        of_data: results, by data.
        against: see `rank`.

    Raises:
        UnknownName: `against` was not measured on all.
    """
    by_name = [{result.name: result for result in results} for results in of_data]
    everywhere = [name for name in by_name[0] if all(name in results for results in by_name)]
    means = {name: sum(float(results[name].accuracies.mean()) for results in by_name) for name in everywhere}
    best_first = sorted(everywhere, key=lambda name: -means[name])
    if against is not None and against not in everywhere:
        raise UnknownName(f"{against!r} was not measured on all data; these were: {', '.join(best_first)}")
    reference = against or best_first[0]
    return [_pooled([_row(results[name], results[reference]) for results in by_name]) for name in best_first]


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


def _named(results: Sequence[Result], name: str | None) -> Result:
    found = next((result for result in results if name in (None, result.name)), None)
    if found is None:
        raise UnknownName(f"{name!r} was not measured; these were: {', '.join(result.name for result in results)}")
    return found


def _row(result: Result, reference: Result) -> Row:
    accuracy, ci95 = mean_ci95(result.accuracies)
    same = result.name == reference.name
    behind, behind_ci95 = (0.0, 0.0) if same else paired_ci95(reference.accuracies, result.accuracies)
    return Row(
        name=result.name,
        kind=result.kind,
        shipped=result.shipped,
        accuracy=accuracy,
        ci95=ci95,
        episodes=len(result.accuracies),
        behind=behind,
        behind_ci95=behind_ci95,
        tied=not abs(behind) > behind_ci95,
        adapt_ms=result.adapt_ms,
        query_ms=result.query_ms,
        state_bytes=result.state_bytes,
    )


def _pooled(rows: Sequence[Row]) -> Row:
    accuracy, ci95 = mean_of_means([(row.accuracy, row.ci95) for row in rows])
    behind, behind_ci95 = mean_of_means([(row.behind, row.behind_ci95) for row in rows])
    return replace(
        rows[0],
        accuracy=accuracy,
        ci95=ci95,
        behind=behind,
        behind_ci95=behind_ci95,
        tied=not abs(behind) > behind_ci95,
        episodes=sum(row.episodes for row in rows),
        adapt_ms=sum(row.adapt_ms for row in rows) / len(rows),
        query_ms=sum(row.query_ms for row in rows) / len(rows),
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
