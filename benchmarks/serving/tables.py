"""What was measured, as tables and as sentences."""

from statistics import median

from rich.table import Table

from benchmarks.serving.contestants import ENGINES, OURS
from benchmarks.serving.figures import Quartiles, quartiles, ratios
from benchmarks.serving.floor import Floor
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
    own = [f"{_bits(row)} ÷ it" for row in _ours(seen)]
    for name in ("req/s", "quartiles", *own, "of floor", "p50 ms", "p99 ms", "open p50", "open p99", "errors"):
        table.add_column(name, justify="right")
    for row in _ours(seen):
        floors = _floors(seen, row)
        figures = (_number(median(floors)), _span(floors))
        table.add_row(f"floor, {_bits(row)}", _floor_how(seen, row), *figures, *[""] * len(own), "1", *[""] * 5)
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
    verdicts = [_floor_verdict(seen, row) for row in _ours(seen)]
    ours = max(_ours(seen), key=lambda row: median(_rates(row)))
    on_torch = [row for row in _peers(seen) if _counts(row) and row.contestant.runtime == "torch"]
    answered = [row for row in on_torch if _answered(row)]
    if on_torch and not answered:
        verdicts.append(Verdict("a peer to compare with wanted, none answered in every round", met=False))
    if answered:
        best = max(answered, key=lambda row: median(_rates(row)))
        times = ratios(_rates(ours), _rates(best)).middle
        named = f"the best peer's ({best.contestant.engine}) requests a second"
        text = f"{BEST_PEER_TIMES:g} × {named} wanted, {times:.2f} came ({_bits(ours)})"
        verdicts.append(Verdict(text, met=times >= BEST_PEER_TIMES))
        p99, p50 = median(cell.p99 for cell in ours.closed), median(cell.p50 for cell in best.closed)
        verdicts.append(Verdict(f"p99 under its p50 of {p50:.0f} ms wanted, {p99:.0f} ms came", met=p99 < p50))
    return verdicts


def _floor_verdict(seen: Seen, row: Row) -> Verdict:
    of_floor = ratios(_rates(row), _floors(seen, row)).middle
    return Verdict(f"{OF_FLOOR:g} of the floor wanted, {of_floor:.2f} came ({_bits(row)})", met=of_floor >= OF_FLOOR)


def engine_sentences(seen: Seen) -> list[str]:
    """By how much kshot exceeds the best engine on the same runtime; nothing where none was tried."""
    said = []
    for ours in _ours(seen):
        same = [row for row in _peers(seen) if row.contestant.runtime == ours.contestant.runtime and _answered(row)]
        if same:
            best = max(same, key=lambda row: median(_rates(row)))
            times = ratios(_rates(ours), _rates(best)).middle
            named = f"{times:.2f} × {best.contestant.engine}'s requests a second"
            said.append(f"on the same ONNX Runtime session, {_bits(ours)}: {named}")
    return said


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


def _ours(seen: Seen) -> list[Row]:
    return [row for row in seen.rows if row.contestant.engine == OURS]


def _peers(seen: Seen) -> list[Row]:
    return [row for row in seen.rows if row.contestant.engine != OURS]


def _bits(row: Row) -> str:
    return "8 bits" if row.contestant.reduced else "fp32"


def _counts(row: Row) -> bool:
    return row.contestant.engine == OURS or ENGINES[row.contestant.engine].counts


def _answered(row: Row) -> bool:
    """Whether it did in every round: who did not start once is no faster or slower than anybody."""
    return all(_rates(row))


def _cells(row: Row, seen: Seen) -> list[str]:
    own = [(each, ratios(_rates(each), _rates(row))) for each in _ours(seen)]
    errors = max(cell.errors for cell in [*row.closed, *row.opened])
    return [
        row.contestant.engine,
        row.contestant.how,
        _number(median(_rates(row))),
        _span(_rates(row)),
        *("1" if row is each else _times(found) if _answered(row) else "—" for each, found in own),
        f"{ratios(_rates(row), _floors(seen, row)).middle:.2f}",
        _number(median(cell.p50 for cell in row.closed)),
        _number(median(cell.p99 for cell in row.closed)),
        _number(median(cell.p50 for cell in row.opened)),
        _number(median(cell.p99 for cell in row.opened)),
        f"{errors:.1%}" if errors else "0",
    ]


def _times(found: Quartiles) -> str:
    return f"{found.middle:.2f} ({_ratio_span(found)})"


def _floor_how(seen: Seen, row: Row) -> str:
    floors = _floors_of(seen, row)
    first = floors[0]
    decode, forward = (1000 * median(each[place] for each in floors) for place in (0, 1))
    return f"decode {decode:.2f} + forward {forward:.2f} ms, {first.sessions} × batches of {first.batch}"


def _floors_of(seen: Seen, row: Row) -> list[Floor]:
    return seen.reduced_floors if row.contestant.reduced else seen.floors


def _floors(seen: Seen, row: Row) -> list[float]:
    """Of the row's own precision, requests a second."""
    return [each.per_second() for each in _floors_of(seen, row)]


def _rates(row: Row) -> list[float]:
    return [cell.per_second for cell in row.closed]


def _span(values: list[float]) -> str:
    found = quartiles(values)
    return f"{_number(found.lower)}–{_number(found.upper)}"


def _ratio_span(found: Quartiles) -> str:
    return f"{found.lower:.2f}–{found.upper:.2f}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
