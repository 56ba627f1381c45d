"""One process, two that share a database, and two replicas on Ray Serve, under the same load: `make bench-replicas`."""

import contextlib
import itertools
import json
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, NamedTuple

import httpx
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.generating import generate
from benchmarks.load import Seen
from benchmarks.overload import Kind, kinds
from service.demo import running_service

REPLICAS = 2
_WARM_UP_SECONDS = 3.0


class Place(NamedTuple):
    """Somewhere to send requests to.

    Attributes:
        name: in the table.
        loads: a kind of requests for each address, which share its clients.
    """

    name: str
    loads: list[tuple[httpx.URL, list[Kind]]]


def main(
    database_url: Annotated[str, typer.Option(help="postgresql+asyncpg://… of an empty database, to be shared.")],
    rounds: Annotated[int, typer.Option(min=1, help="In each of which every place is measured once.")] = 3,
    seconds: Annotated[float, typer.Option(help="Of each measurement.")] = 6,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Requests a second and latency of each, closed loop, in turns of one run; ratios are to one process."""
    console = Console(stderr=True)
    # The same pictures are sent again and again: remembered, they would not be encoded.
    common = {"KSHOT_ENCODED_CACHE_BYTES": "0"}
    shared = common | {"KSHOT_DATABASE_URL": database_url}
    alone = shared | {"KSHOT_THREADS": "1"}
    on_ray = ["--engine", "ray", "--replicas", str(REPLICAS)]
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(running_service(console, **common))
        two = [stack.enter_context(running_service(console, **alone)) for _ in range(REPLICAS)]
        ray = stack.enter_context(running_service(console, options=on_ray, **shared))
        places = [place("one process", [one]), place("two processes", two), place("two replicas on Ray Serve", [ray])]
        figures = measure(console, places, rounds=rounds, seconds=seconds)
    if as_json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        show(figures)


def place(name: str, clients: Sequence[httpx.Client]) -> Place:
    """A place whose requests are spread evenly over addresses."""
    return Place(name, [(client.base_url, kinds(client)) for client in clients])


def measure(console: Console, places: Sequence[Place], *, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each kind and place: the median over the rounds, and the ratio to the first place in the same round."""
    rows = []
    for number, kind in enumerate(places[0].loads[0][1]):
        for each in places:
            ask(each, number, seconds=_WARM_UP_SECONDS)
        told: dict[str, list[tuple[float, float, float]]] = {each.name: [] for each in places}
        for turn, each in itertools.product(range(rounds), places):
            console.print(f"{kind.name}: {each.name}, round {turn + 1} of {rounds} …")
            told[each.name].append(figures_of(ask(each, number, seconds=seconds)))
        first = [rate for rate, _, _ in told[places[0].name]]
        for name, seen in told.items():
            rate, p50, p99 = (statistics.median(column) for column in zip(*seen, strict=True))
            ratios = sorted(each[0] / base for each, base in zip(seen, first, strict=True))
            rows.append({"kind": kind.name, "place": name, "rate": rate, "p50": p50, "p99": p99, "ratios": ratios})
    return rows


def ask(asked: Place, number: int, *, seconds: float) -> list[Seen]:
    """Its clients, an equal share of them at each address."""

    def run(load: tuple[httpx.URL, list[Kind]]) -> Seen:
        base, kind = load[0], load[1][number]
        clients = kind.clients // len(asked.loads)
        return generate(base.host, base.port or 80, kind.requests, seconds=seconds, clients=clients)

    with ThreadPoolExecutor(len(asked.loads)) as pool:
        return list(pool.map(run, asked.loads))


def figures_of(seen: Sequence[Seen]) -> tuple[float, float, float]:
    """Requests a second, and the median and the 99th percentile of their seconds.

    Raises:
        RuntimeError: some were not answered 200: then there is nothing to compare.
    """
    wrong = {kind: count for each in seen for kind, count in each.wrong.items()}
    shed = sum(each.shed for each in seen)
    if wrong or shed:
        raise RuntimeError(f"answers were {wrong}, and {shed} requests were shed; expected 200 alone")
    taken = [seconds for each in seen for seconds in each.good_seconds]
    p50, p99 = np.percentile(taken, (50, 99))
    return sum(len(each.good_seconds) / each.seconds for each in seen), float(p50), float(p99)


def show(figures: Sequence[dict[str, Any]]) -> None:
    """The table."""
    table = Table("requests", "served by", "requests a second", "times one process", "p50 ms", "p99 ms")
    for row in figures:
        low, *_, high = [row["ratios"][0], *row["ratios"]]
        ratio = f"{statistics.median(row['ratios']):.2f} ({low:.2f}–{high:.2f})"
        latencies = (f"{1000 * row['p50']:.0f}", f"{1000 * row['p99']:.0f}")
        table.add_row(row["kind"], row["place"], f"{row['rate']:.1f}", ratio, *latencies)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
