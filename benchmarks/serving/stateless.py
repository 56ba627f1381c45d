"""Target 2: adapt to 5 × 5 photos and classify 15 in one call, alone and with 16 clients, against the floor."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.progress import Progress

from benchmarks.serving import floor, pinned, wire
from benchmarks.serving.figures import Cell, Quartiles, ratios
from benchmarks.serving.floor import Floor
from benchmarks.serving.loading import Load
from benchmarks.serving.prepare import Pictures
from benchmarks.serving.rounds import Plan
from benchmarks.serving.running import HOST, kshot
from benchmarks.serving.settings import CLIENTS, ONCE_QUERIES, SHOTS, WAYS

MODEL = "photos"
PICTURES = WAYS * SHOTS + ONCE_QUERIES
_MODELS = Path(__file__).parents[2] / "models"
_PATH = "/v1/classify/upload"
_DIFFERENT = 4
"""Bodies, sent in turns."""


@dataclass
class Once:
    """Figures of the stateless call, one a round.

    Attributes:
        floors: of one picture each.
        alone: one client.
        crowded: 16 clients.
        taken: cores that others' processes took just before each round.
    """

    floors: list[Floor] = field(default_factory=list)
    alone: list[Cell] = field(default_factory=list)
    crowded: list[Cell] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)

    @property
    def latency(self) -> Quartiles:
        """A lone call's median latency over the floor's."""
        return ratios(
            [cell.p50 for cell in self.alone], [1000 / each.per_second(pictures=PICTURES) for each in self.floors]
        )

    @property
    def throughput(self) -> Quartiles:
        """Requests a second of 16 clients over the floor's."""
        return ratios(
            [cell.per_second for cell in self.crowded], [each.per_second(pictures=PICTURES) for each in self.floors]
        )

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "floors": [each._asdict() | {"per_second": each.per_second(pictures=PICTURES)} for each in self.floors],
            "alone": [cell.as_json() for cell in self.alone],
            "crowded": [cell.as_json() for cell in self.crowded],
            "cores_taken_by_others": self.taken,
        }


def measure(made: Pictures, plan: Plan, progress: Progress) -> Once:
    """Each round: the floor, then a server of its own, a lone client, and 16."""
    seen, bar = Once(), progress.add_task("stateless call", total=2 * plan.rounds)
    for number in range(plan.rounds):
        about = f"stateless call: round {number + 1} of {plan.rounds}"
        progress.update(bar, description=f"{about}, floor")
        seen.taken.append(pinned.taken_by_others())
        way = seen.floors[0] if seen.floors else None
        seen.floors.append(
            floor.measure(_MODELS / MODEL, made.queries, seconds=plan.seconds, cores=plan.cores.server, way=way)
        )
        progress.advance(bar)
        progress.update(bar, description=about)
        with kshot(_MODELS, cores=plan.cores.server) as port:
            forms = [form(made, number) for number in range(_DIFFERENT)]
            check(port, forms[0])
            load = Load(port, [wire.prepared(HOST, port, _PATH, each) for each in forms], cores=plan.cores.generator)
            load.closed(1, seconds=plan.seconds / 2)
            seen.alone.append(load.closed(1, seconds=plan.seconds))
            seen.crowded.append(load.closed(CLIENTS, seconds=2 * plan.seconds))
        progress.advance(bar)
    progress.remove_task(bar)
    return seen


def form(made: Pictures, number: int) -> wire.Form:
    """The `number`-th body: the same pictures in another order."""
    turned = [*made.support, *made.queries]
    turned = turned[number:] + turned[:number]
    queries = [wire.Part("queries", picture) for picture in turned[WAYS * SHOTS : PICTURES]]
    support = wire.support_set(turned[: WAYS * SHOTS], field="support")
    return wire.multipart([*support, *queries, wire.Part("model", MODEL.encode(), file=False)])


def check(port: int, asked: wire.Form) -> None:
    """See that the service does what it is timed for.

    Raises:
        SystemExit: it does not.
    """
    address = f"http://{HOST}:{port}{_PATH}"
    answer = httpx.post(address, content=asked.content, headers={"Content-Type": asked.kind}, timeout=60)
    results = answer.raise_for_status().json()["results"]
    if len(results) != ONCE_QUERIES or any(len(each["predictions"]) != WAYS for each in results):
        raise SystemExit(f"expected {ONCE_QUERIES} results of {WAYS} labels; came: {answer.text[:500]}")
