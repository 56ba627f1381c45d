"""One stateless 5-way 5-shot call with 10 queries of 640×480 JPEG, by stage: `make bench-photos`."""

import json
import os
import statistics
import sys
import time
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_sample_images

from meta_core.device import cores
from service.demo import running_service
from service.demo_calls import jpeg

WAYS, SHOTS, QUERIES, SIZE = 5, 5, 10, (640, 480)
GOAL_MS = 400


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Time the default model's stateless call over HTTP, alone on the machine."""
    pictures = [jpeg(picture) for picture in photos(WAYS * SHOTS + QUERIES)]
    examples = [{"label": f"label {n % WAYS}", "image": image} for n, image in enumerate(pictures[: WAYS * SHOTS])]
    body = {"examples": examples, "images": pictures[WAYS * SHOTS :]}
    seconds, stages = [], []
    console = Console(stderr=True)
    # The same pictures are sent again and again: remembered, they would not be encoded.
    with running_service(console, KSHOT_ENCODED_CACHE_BYTES="0") as client:
        for _ in range(3):
            client.post("/v1/classify", json=body).raise_for_status()
        for _ in track(range(rounds), "asking", console=console):
            began = time.perf_counter()
            answer = client.post("/v1/classify", json=body).raise_for_status().json()
            seconds.append(1000 * (time.perf_counter() - began))
            stages.append(answer["timings_ms"])
    found = {"model": answer["model"], "cores": cores(), "load": os.getloadavg()[0], "rounds": rounds}
    found |= {"call": statistics.median(seconds), "p90": float(np.percentile(seconds, 90))}
    found |= {name: statistics.median(stage[name] for stage in stages) for name in stages[0]}
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    table = Table(title=f"{WAYS}-way {SHOTS}-shot, {QUERIES} queries of 640×480 JPEG, {found['model']}, ms (medians)")
    for name in ("call", "p90", *stages[0]):
        table.add_column(name, justify="right")
    table.add_row(*(f"{found[name]:.0f}" for name in ("call", "p90", *stages[0])))
    Console().print(table)
    Console().print(f"goal: {GOAL_MS} ms; {rounds} calls on {cores()} cores, load {found['load']:.1f}")


def photos(count: int) -> list[np.ndarray]:
    """Pieces of scikit-learn's two photos, each another one, enlarged to 640×480."""
    random, originals = np.random.default_rng(0), [Image.fromarray(image) for image in load_sample_images().images]
    pieces = []
    for number in range(count):
        original = originals[number % 2]
        left, top = random.integers(0, 120), random.integers(0, 60)
        box = (left, top, left + 500, top + 360)
        pieces.append(np.asarray(original.resize(SIZE, Image.Resampling.BICUBIC, box=box)))
    return pieces


if __name__ == "__main__":
    typer.run(main)
