"""How long a start takes: imports, `kshot serve` to `/readyz` 200 with every shipped model, and the first requests.

Each time in a new process, after one that does not count and leaves the files in the page cache. Of the first requests
the very first of each shipped model is compared with the median of the twenty after it: what warming up left to do.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.growth.axes import MODELS
from benchmarks.photo_request import photos
from benchmarks.serving import about, pinned
from benchmarks.serving.running import HOST, kshot
from service.demo_calls import jpeg

IMPORT_SECONDS, READY_SECONDS, FIRST_TIMES = 2.5, 6.0, 2.0
"""At most; the last of a first request over those after it."""

out, err = Console(), Console(stderr=True)


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    cores: Annotated[int, typer.Option(min=1, help="processor cores of the service")] = 2,
) -> None:
    """Measure, print and judge; exit with 1 where a start takes longer than it may."""
    taken, where = pinned.taken_by_others(), pinned.share_out(cores).server
    with pinned.on(where):
        core = _times(rounds, "import meta_core", lambda: _import("meta_core.checkpoint, meta_core.evaluate"))
        whole = _times(rounds, "import the service", lambda: _import("service.app"))
        ready = _times(rounds, "kshot serve to /readyz", lambda: _ready(where))
    first = _first_requests(where)
    table = Table(title=f"a start on {cores} cores, seconds", title_justify="left")
    for column in ("", "median", "range", "at most"):
        table.add_column(column, justify="left" if not column else "right")
    for name, seconds, most in (
        ("import meta_core", core, IMPORT_SECONDS),
        ("import the service", whole, None),
        ("kshot serve to /readyz, all shipped models", ready, READY_SECONDS),
    ):
        spread = f"{min(seconds):.2f}–{max(seconds):.2f}"
        table.add_row(name, f"{statistics.median(seconds):.2f}", spread, "" if most is None else f"{most:g}")
    out.print(table)
    for model, (once, later) in first.items():
        out.print(f"{model}: its first request took {once:.1f} ms, the twenty after it {later:.1f}", highlight=False)
    for line in about.warning([taken]):
        out.print(line, highlight=False)
    slow = [once > FIRST_TIMES * later for once, later in first.values()]
    if statistics.median(core) > IMPORT_SECONDS or statistics.median(ready) > READY_SECONDS or any(slow):
        raise typer.Exit(1)


def _times(rounds: int, name: str, once: Callable[[], float]) -> list[float]:
    return [once() for _ in track(range(rounds + 1), name, console=err, transient=True)][1:]


def _import(modules: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
    return time.perf_counter() - began


def _ready(cores: frozenset[int]) -> float:
    began = time.perf_counter()
    with kshot(MODELS, cores=cores):
        return time.perf_counter() - began


def _first_requests(cores: frozenset[int]) -> dict[str, tuple[float, float]]:
    """Of each model: milliseconds of the first stateless call, and the median of those after it."""
    pictures, found = [jpeg(picture) for picture in photos(11)], dict[str, tuple[float, float]]()
    examples = [{"label": f"label {number % 5}", "image": each} for number, each in enumerate(pictures[:10])]
    with kshot(MODELS, cores=cores) as port, httpx.Client(base_url=f"http://{HOST}:{port}", timeout=60) as client:
        for model in [each["name"] for each in client.get("/v1/models").json()["data"]]:
            body = {"model": model, "examples": examples, "images": pictures[10:]}
            times = []
            for _ in range(21):
                began = time.perf_counter()
                client.post("/v1/classify", json=body).raise_for_status()
                times.append(1000 * (time.perf_counter() - began))
            found[model] = (times[0], statistics.median(times[1:]))
    return found


if __name__ == "__main__":
    typer.run(main)
