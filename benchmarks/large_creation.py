"""Calls of a stored classifier while somebody creates another of a thousand photos: `make bench-large`."""

import base64
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any

import httpx
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.load import Seen
from benchmarks.overload import kinds, load
from benchmarks.photo_request import photos
from service.demo import running_service
from service.demo_calls import jpeg

WAYS, GOAL_SECONDS, LONGEST_SECONDS = 20, 0.15, 25


def main(
    pictures: Annotated[int, typer.Option(min=WAYS, help="Of the large classifier.")] = 1000,
    rate: Annotated[float, typer.Option(help="Calls a second of the small one.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """How long calls take alone and during the creation; fails past 150 ms in the p99 of the one sent as a form.

    As JSON it is near the limit of a body and is read in one go on the event loop, for 0.1 to 0.3 s.
    """
    console = Console(stderr=True)
    data = [jpeg(picture) for picture in photos(pictures)]
    labels = [f"label {number % WAYS}" for number in range(pictures)]
    rows = []
    with running_service(console, KSHOT_ENCODED_CACHE_BYTES="0") as client:
        for name, create in (("form", _by_form(client, data, labels)), ("JSON", _by_json(client, data, labels))):
            console.print(f"a creation of {pictures} photos as {name} …")
            rows.append({"as": name, **measure(client, create, rate=rate)})
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        show(rows, pictures=pictures, rate=rate)
    form = rows[0]
    raise typer.Exit(form["during_ms"]["p99"] > 1000 * GOAL_SECONDS or any(row["refused"] for row in rows))


def measure(client: httpx.Client, create: Callable[[], None], *, rate: float) -> dict[str, Any]:
    """Calls before the creation, and those that were due while it went on."""
    small = kinds(client)[1]
    began = time.monotonic()
    create()
    creation_alone_seconds = time.monotonic() - began
    alone = load(client, small, rate=rate, seconds=5)
    seen: list[Seen] = []
    seconds = min(LONGEST_SECONDS, 2 * creation_alone_seconds + 3)
    calls = threading.Thread(target=lambda: seen.append(load(client, small, rate=rate, seconds=seconds)))
    calls.start()
    time.sleep(1.5)
    began = time.monotonic()
    create()
    ended = time.monotonic()
    calls.join()
    (calls_seen,) = seen
    pairs = zip(calls_seen.good_seconds, calls_seen.good_due, strict=True)
    during = [each for each, due in pairs if began <= due <= ended]
    return {
        "alone_ms": _percentiles(alone.good_seconds),
        "during_ms": _percentiles(during),
        "calls": len(during),
        "refused": calls_seen.shed + sum(calls_seen.wrong.values()),
        "creation_alone_seconds": creation_alone_seconds,
        "creation_seconds": ended - began,
    }


def _by_form(client: httpx.Client, data: list[str], labels: list[str]) -> Callable[[], None]:
    files = [("files", (f"{number}.jpg", base64.b64decode(each))) for number, each in enumerate(data)]
    # Put together once: that the client does so on the same cores is nothing that others wait for elsewhere.
    request = client.build_request("POST", "/v1/classifiers/upload", files=files, data={"labels": labels})
    return _sending(client, request.url.path, request.read(), request.headers["Content-Type"])


def _by_json(client: httpx.Client, data: list[str], labels: list[str]) -> Callable[[], None]:
    examples = [{"label": label, "image": image} for label, image in zip(labels, data, strict=True)]
    return _sending(client, "/v1/classifiers", json.dumps({"examples": examples}).encode(), "application/json")


def _sending(client: httpx.Client, path: str, body: bytes, content_type: str) -> Callable[[], None]:
    def create() -> None:
        client.post(path, content=body, headers={"Content-Type": content_type}, timeout=120).raise_for_status()

    return create


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{part}": 1000 * float(np.percentile(seconds, part)) for part in (50, 90, 99)}


def show(rows: list[dict[str, Any]], *, pictures: int, rate: float) -> None:
    """The table."""
    table = Table(title=f"{rate:g} calls a second beside a creation of {pictures} photos")
    for column in ("sent as", "", "p50 ms", "p90 ms", "p99 ms", "creation s", "calls", "refused"):
        table.add_column(column)
    for row in rows:
        for name, key in (("alone", "alone"), ("during", "during")):
            times = [f"{value:.0f}" for value in row[f"{key}_ms"].values()]
            seconds = row["creation_alone_seconds" if key == "alone" else "creation_seconds"]
            counts = ["", ""] if key == "alone" else [str(row["calls"]), str(row["refused"])]
            table.add_row(row["as"], name, *times, f"{seconds:.1f}", *counts)
    Console(width=110).print(table)


if __name__ == "__main__":
    typer.run(main)
