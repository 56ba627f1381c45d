"""Ten times the capacity that was measured just before, open loop: `make bench-overload`."""

import json
import sys
import threading
import time
from typing import Annotated, Any, NamedTuple

import httpx
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.generating import generate
from benchmarks.load import Seen
from benchmarks.photo_request import photos
from service.demo import running_service
from service.demo_calls import jpeg


class Kind(NamedTuple):
    """What is sent.

    Attributes:
        name: in the table.
        requests: prepared, one after the other in turns.
        clients: of the closed loop that measures capacity.
        goodput: share of the capacity that must be kept.
    """

    name: str
    requests: list[bytes]
    clients: int
    goodput: float


def main(
    seconds: Annotated[float, typer.Option(help="Of overload; a fifth of it, at least 10, to measure capacity.")] = 60,
    times: Annotated[float, typer.Option(help="The capacity.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure capacity, exceed it, and see what is kept; fails if a promise is broken."""
    console = Console(stderr=True)
    found = []
    # The same pictures are sent again and again: remembered, they would not be encoded.
    with running_service(console, KSHOT_ENCODED_CACHE_BYTES="0") as client:
        for kind in kinds(client):
            console.print(f"{kind.name} …")
            found.append(measure(client, kind, seconds=seconds, times=times))
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        show(found, times=times)
    raise typer.Exit(any(row["broken"] for row in found))


def kinds(client: httpx.Client) -> list[Kind]:
    """Stateless photos, and small calls of a stored classifier."""
    base = client.base_url
    pictures = [jpeg(picture) for picture in photos(50)]
    bodies = []
    for turn in range(4):
        chosen = [pictures[(turn + number) % len(pictures)] for number in range(30)]
        examples = [{"label": f"label {n % 5}", "image": image} for n, image in enumerate(chosen[:25])]
        bodies.append({"examples": examples, "images": chosen[25:]})
    made = client.post("/v1/classifiers", json={"examples": bodies[0]["examples"]}).raise_for_status().json()
    path = f"/v1/classifiers/{made['id']}/classify"
    small = [prepared(base, path, {"images": [picture]}) for picture in pictures[:20]]
    return [
        Kind("stateless, 25 examples and 5 queries", [prepared(base, "/v1/classify", body) for body in bodies], 6, 0.9),
        Kind("classify, one picture", small, 16, 0.7),
    ]


def prepared(base: httpx.URL, path: str, body: Any) -> bytes:
    """A request as it goes over the wire."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {base.host}:{base.port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def measure(client: httpx.Client, kind: Kind, *, seconds: float, times: float) -> dict[str, Any]:
    """Capacity, overload, and how it is five seconds after."""
    load(client, kind, clients=kind.clients, seconds=3)
    calm = load(client, kind, clients=kind.clients, seconds=max(10, seconds / 5))
    capacity = len(calm.good_seconds) / calm.seconds
    over, live = threading.Event(), list[float]()
    watcher = threading.Thread(target=watch, args=(str(client.base_url), over, live))
    watcher.start()
    stormy = load(client, kind, rate=times * capacity, seconds=seconds)
    over.set()
    watcher.join()
    time.sleep(5)
    after = load(client, kind, clients=kind.clients, seconds=max(5, seconds / 10))
    p99, stormy_p99, after_p99 = (float(np.percentile(each.good_seconds, 99)) for each in (calm, stormy, after))
    row: dict[str, Any] = {
        "kind": kind.name,
        "capacity_per_second": capacity,
        "asked_per_second": times * capacity,
        "goodput": len(stormy.good_seconds) / stormy.seconds / capacity,
        "shed": stormy.shed,
        "wrong": stormy.wrong,
        "not_sent": stormy.not_sent,
        "live_max_seconds": max(live),
        "p99_seconds": p99,
        "p99_over": stormy_p99 / p99,
        "after": len(after.good_seconds) / after.seconds / capacity,
        "p99_after": after_p99 / p99,
        "generator_cores": stormy.cpu_seconds / stormy.seconds,
    }
    row["broken"] = broken(row, kind)
    return row


def broken(row: dict[str, Any], kind: Kind) -> list[str]:
    """The promises that were not kept."""
    promises = {
        f"goodput at least {kind.goodput:.0%} of the capacity": row["goodput"] >= kind.goodput,
        "every other answer 503 or 429 with Retry-After": not row["wrong"],
        "/livez within a second": row["live_max_seconds"] <= 1,
        "p99 of accepted at most three times that at capacity": row["p99_over"] <= 3,
        "as before five seconds later": row["after"] >= 0.8 and row["p99_after"] <= 1.5,
    }
    return [promise for promise, kept in promises.items() if not kept]


def load(client: httpx.Client, kind: Kind, **plan: float) -> Seen:
    """Run the generator."""
    base = client.base_url
    return generate(base.host, base.port or 80, kind.requests, **plan)


def watch(url: str, over: threading.Event, seconds: list[float]) -> None:
    """How long `/livez` takes, ten times a second."""
    with httpx.Client(base_url=url, timeout=30) as client:
        while not over.is_set():
            began = time.perf_counter()
            client.get("/livez").raise_for_status()
            seconds.append(time.perf_counter() - began)
            time.sleep(0.1)


def show(found: list[dict[str, Any]], *, times: float) -> None:
    """The table."""
    table = Table(title=f"{times:g} times the capacity, open loop")
    columns = (
        "kind", "capacity /s", "goodput", "shed", "wrong", "not sent", "livez max s", "p99 s", "× over", "after",
        "generator cores", "broken",
    )  # fmt: skip
    for column in columns:
        table.add_column(column)
    for row in found:
        table.add_row(
            row["kind"],
            f"{row['capacity_per_second']:.1f}",
            f"{row['goodput']:.0%}",
            str(row["shed"]),
            str(row["wrong"] or ""),
            str(row["not_sent"]),
            f"{row['live_max_seconds']:.2f}",
            f"{row['p99_seconds']:.2f}",
            f"{row['p99_over']:.1f}",
            f"{row['after']:.0%}",
            f"{row['generator_cores']:.2f}",
            "; ".join(row["broken"]) or "nothing",
        )
    Console(width=200).print(table)


if __name__ == "__main__":
    typer.run(main)
