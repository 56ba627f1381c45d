"""What was measured, as tables and as sentences."""

from statistics import median

from rich.table import Table

from benchmarks.serving.contestants import ENGINES, OURS
from benchmarks.serving.figures import Quartiles, quartiles, ratios
from benchmarks.serving.rounds import Row, Seen
from benchmarks.serving.settings import (
    ALONE_TIMES,
    BEST_PEER_TIMES,
    CLIENTS,
    OF_FLOOR,
    ONCE_QUERIES,
    OPEN_SHARE,
    SHOTS,
    WAYS,
)
from benchmarks.serving.stateless import MODEL, PICTURES, Once


class Verdict:
    """A target and whether it was met.

    Args:
        text: what was wanted and what came.
        met: whether they agree.
    """

    def __init__(self, text: str, *, met: bool) -> None:
        self.text, self.met = f"{text}: {'met' if met else 'NOT met'}", met


def network_table(seen: Seen) -> Table:
    """One network's contestants, the fastest of each kind first."""
    table = Table(
        title=f"{seen.prepared.network.title}: a 640×480 JPEG → probabilities of {WAYS} classes; {CLIENTS} clients, "
        f"closed loop; then open loop at {OPEN_SHARE:.0%} of each one's own requests a second",
        title_justify="left",
    )
    for name in ("contestant", "how"):
        table.add_column(name)
    for name in ("req/s", "quartiles", "kshot ÷ it", "of floor", "p50 ms", "p99 ms", "open p50", "open p99", "errors"):
        table.add_column(name, justify="right")
    table.add_row("floor", _floor_how(seen), _number(median(_floors(seen))), _span(_floors(seen)), "", "1", *[""] * 5)
    table.add_section()
    for row in seen.rows:
        table.add_row(*_cells(row, seen), style=None if _counts(row) else "dim")
    return table


def once_table(once: Once) -> Table:
    """The stateless call."""
    table = Table(
        title=f"stateless call of {MODEL}: adapt to {WAYS * SHOTS} photos of 640×480, classify {ONCE_QUERIES}",
        title_justify="left",
    )
    for name in ("", "kshot", "floor", "ratio", "quartiles"):
        table.add_column(name, justify="right" if name else "left")
    floors = [each.per_second(pictures=PICTURES) for each in once.floors]
    alone, crowded = [cell.p50 for cell in once.alone], [cell.per_second for cell in once.crowded]
    table.add_row(
        "alone, ms",
        _number(median(alone)),
        _number(1000 / median(floors)),
        f"{once.latency.middle:.2f}",
        _ratio_span(once.latency),
    )
    table.add_row(
        f"{CLIENTS} clients, requests a second",
        _number(median(crowded)),
        _number(median(floors)),
        f"{once.throughput.middle:.2f}",
        _ratio_span(once.throughput),
    )
    table.add_row("errors", f"{max(cell.errors for cell in [*once.alone, *once.crowded]):.1%}")
    return table


def network_verdicts(seen: Seen) -> list[Verdict]:
    """Target 1; nothing where no peer took part."""
    ours, of_floor = seen.rows[0], ratios(_rates(seen.rows[0]), _floors(seen)).middle
    verdicts = [Verdict(f"{OF_FLOOR:g} of the floor wanted, {of_floor:.2f} came", met=of_floor >= OF_FLOOR)]
    on_torch = [row for row in seen.rows[1:] if _counts(row) and row.contestant.runtime == "torch"]
    answered = [row for row in on_torch if _answered(row)]
    if on_torch and not answered:
        verdicts.append(Verdict("a peer to compare with wanted, none answered in every round", met=False))
    if answered:
        best = max(answered, key=lambda row: median(_rates(row)))
        times = ratios(_rates(ours), _rates(best)).middle
        named = f"the best peer's ({best.contestant.engine}) requests a second"
        text = f"{BEST_PEER_TIMES:g} × {named} wanted, {times:.2f} came"
        verdicts.append(Verdict(text, met=times >= BEST_PEER_TIMES))
        p99, p50 = median(cell.p99 for cell in ours.closed), median(cell.p50 for cell in best.closed)
        verdicts.append(Verdict(f"p99 under its p50 of {p50:.0f} ms wanted, {p99:.0f} ms came", met=p99 < p50))
    return verdicts


def engine_sentence(seen: Seen) -> list[str]:
    """By how much kshot exceeds the best engine on the same runtime; nothing where none was tried."""
    same = [row for row in seen.rows[1:] if row.contestant.runtime == "onnx" and _answered(row)]
    if not same:
        return []
    best = max(same, key=lambda row: median(_rates(row)))
    times = ratios(_rates(seen.rows[0]), _rates(best)).middle
    return [f"on the same ONNX Runtime session: {times:.2f} × {best.contestant.engine}'s requests a second"]


def failures(seen: Seen) -> list[str]:
    """Who takes no part, and why."""
    return [
        f"{who.engine} ({who.how}) takes no part: {why.strip().splitlines()[0]}"
        for who, why in seen.qualified.failed.items()
    ]


def once_verdicts(once: Once) -> list[Verdict]:
    """Target 2."""
    latency, share = once.latency.middle, once.throughput.middle
    return [
        Verdict(f"alone at most {ALONE_TIMES:g} × the floor wanted, {latency:.2f} came", met=latency <= ALONE_TIMES),
        Verdict(f"{OF_FLOOR:g} of the floor with {CLIENTS} clients wanted, {share:.2f} came", met=share >= OF_FLOOR),
    ]


def _counts(row: Row) -> bool:
    return row.contestant.engine == OURS or ENGINES[row.contestant.engine].counts


def _answered(row: Row) -> bool:
    """Whether it did in every round: who did not start once is no faster or slower than anybody."""
    return all(_rates(row))


def _cells(row: Row, seen: Seen) -> list[str]:
    ours = ratios(_rates(seen.rows[0]), _rates(row))
    errors = max(cell.errors for cell in [*row.closed, *row.opened])
    return [
        row.contestant.engine,
        row.contestant.how,
        _number(median(_rates(row))),
        _span(_rates(row)),
        "1" if row is seen.rows[0] else f"{ours.middle:.2f} ({_ratio_span(ours)})" if _answered(row) else "—",
        f"{ratios(_rates(row), _floors(seen)).middle:.2f}",
        _number(median(cell.p50 for cell in row.closed)),
        _number(median(cell.p99 for cell in row.closed)),
        _number(median(cell.p50 for cell in row.opened)),
        _number(median(cell.p99 for cell in row.opened)),
        f"{errors:.1%}" if errors else "0",
    ]


def _floor_how(seen: Seen) -> str:
    first = seen.floors[0]
    decode, forward = (1000 * median(each[place] for each in seen.floors) for place in (0, 1))
    return f"decode {decode:.2f} + forward {forward:.2f} ms, {first.sessions} × batches of {first.batch}"


def _floors(seen: Seen) -> list[float]:
    return [each.per_second() for each in seen.floors]


def _rates(row: Row) -> list[float]:
    return [cell.per_second for cell in row.closed]


def _span(values: list[float]) -> str:
    found = quartiles(values)
    return f"{_number(found.lower)}–{_number(found.upper)}"


def _ratio_span(found: Quartiles) -> str:
    return f"{found.lower:.2f}–{found.upper:.2f}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
