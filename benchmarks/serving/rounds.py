"""Everybody's turn, round by round."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.serving import floor, pinned
from benchmarks.serving.contestants import Contestant
from benchmarks.serving.figures import NOTHING, Cell
from benchmarks.serving.floor import Floor
from benchmarks.serving.loading import Load
from benchmarks.serving.pinned import Cores
from benchmarks.serving.prepare import Prepared, reduced_name
from benchmarks.serving.qualifying import Qualification
from benchmarks.serving.running import DidNotStart, Endpoint, running
from benchmarks.serving.settings import CLIENTS, OPEN_SHARE


@dataclass
class Plan:
    """How it is measured.

    Attributes:
        rounds: in which everybody has one turn.
        seconds: of each load; half as long before it, which does not count.
        engines: peers.
        cores: of servers and of the load.
        python: interpreters of the peers' environments.
    """

    rounds: int
    seconds: float
    engines: list[str]
    cores: Cores
    python: dict[str, Path]


@dataclass
class Row:
    """A contestant's figures, one a round.

    Attributes:
        contestant: whose.
        closed: 16 clients.
        opened: at a share of what the closed loop of the same turn showed.
    """

    contestant: Contestant
    closed: list[Cell] = field(default_factory=list)
    opened: list[Cell] = field(default_factory=list)


@dataclass
class Seen:
    """One network's figures.

    Attributes:
        prepared: what was served.
        qualified: answers and choices.
        rows: kshot first.
        floors: one a round.
        reduced_floors: the same in 8 bits.
        taken: cores that others' processes took just before each round.
    """

    prepared: Prepared
    qualified: Qualification
    rows: list[Row]
    floors: list[Floor] = field(default_factory=list)
    reduced_floors: list[Floor] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "network": self.prepared.network.name,
            "differences": {f"{who.engine}, {who.how}": off for who, off in self.qualified.differences.items()},
            "trials_per_second": {f"{who.engine}, {who.how}": rate for who, rate in self.qualified.trials.items()},
            "failed": {f"{who.engine}, {who.how}": why for who, why in self.qualified.failed.items()},
            "floors": [each._asdict() | {"per_second": each.per_second()} for each in self.floors],
            "reduced_floors": [each._asdict() | {"per_second": each.per_second()} for each in self.reduced_floors],
            "cores_taken_by_others": self.taken,
            "rows": [
                row.contestant._asdict()
                | {
                    "how": row.contestant.how,
                    "closed": [cell.as_json() for cell in row.closed],
                    "open": [cell.as_json() for cell in row.opened],
                }
                for row in self.rows
            ],
        }


def measure(prepared: Prepared, plan: Plan, progress: Progress) -> Seen:
    """Compare, choose, then give everybody a turn in each round, each round beginning with another."""
    title = prepared.network.title
    bar = progress.add_task(f"{title}: comparing answers", total=None)

    def turn(contestant: Contestant, look: Callable[[Endpoint], Cell]) -> Cell:
        progress.update(bar, description=f"{title}: comparing answers, {contestant.engine}, {contestant.how}")
        with running(contestant, prepared, python=plan.python, cores=plan.cores.server) as endpoint:
            return look(endpoint)

    seconds = min(plan.seconds, 5.0)
    qualified = Qualification(prepared, turn=turn, generator=plan.cores.generator, seconds=seconds)
    qualified.choose(plan.engines)
    rows = [Row(contestant) for contestant in qualified.contestants]
    seen = Seen(prepared, qualified, rows)
    progress.update(bar, total=plan.rounds * (len(rows) + 1), completed=0)
    for number in range(plan.rounds):
        about = f"{title}: round {number + 1} of {plan.rounds}"
        seen.taken.append(pinned.taken_by_others())
        progress.update(bar, description=f"{about}, floor")
        name = prepared.network.name
        seen.floors.append(_floor(name, prepared, plan, seen.floors))
        seen.reduced_floors.append(_floor(reduced_name(prepared.network), prepared, plan, seen.reduced_floors))
        progress.advance(bar)
        first = number % len(rows)
        for row in [*rows[first:], *rows[:first]]:
            progress.update(bar, description=f"{about}, {row.contestant.engine}")
            try:
                closed, opened = _turn(row.contestant, prepared, plan)
            except DidNotStart:
                closed = opened = NOTHING
            row.closed.append(closed)
            row.opened.append(opened)
            progress.advance(bar)
    progress.remove_task(bar)
    return seen


def _floor(model: str, prepared: Prepared, plan: Plan, before: list[Floor]) -> Floor:
    return floor.measure(
        prepared.models / model,
        prepared.pictures.queries,
        seconds=plan.seconds,
        cores=plan.cores.server,
        way=before[0] if before else None,
    )


def _turn(contestant: Contestant, prepared: Prepared, plan: Plan) -> tuple[Cell, Cell]:
    with running(contestant, prepared, python=plan.python, cores=plan.cores.server) as endpoint:
        requests = [endpoint.request(jpeg) for jpeg in prepared.pictures.queries]
        load = Load(endpoint.port, requests, cores=plan.cores.generator)
        load.closed(CLIENTS, seconds=plan.seconds / 2)
        closed = load.closed(CLIENTS, seconds=plan.seconds)
        return closed, load.open(max(1.0, OPEN_SHARE * closed.per_second), seconds=plan.seconds)
