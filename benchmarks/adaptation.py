"""Thirty users' MAML adaptations together against one after another: `make bench-adaptation`."""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor

from meta_core import checkpoint
from meta_core.batching import adapt_many, predict_many
from meta_core.device import cores, pick_device
from meta_core.episode import State, SupportSet
from meta_core.learner import AdaptOptions, Learner
from meta_core.parallel import Workers
from meta_core.preprocess import InputSpec, conform, normalize

USERS, WAYS, SHOTS, STEPS, QUERIES = 30, 5, 5, 5, 15
TOLERANCE = 1e-4
GOAL_RATIO, GOAL_MS = {"cpu": 0.85, "cuda": 0.5}, 150

Run = Callable[[], list[State]]


@dataclass
class Row:
    """What was measured; milliseconds are medians over rounds, of all users.

    Attributes:
        model: whose weights.
        all_threads_ms: one after another, each with all of torch's threads.
        one_thread_ms: one after another with one thread; None on CUDA.
        together_ms: in one call.
        ratio: together against the faster of the others.
        single_ms: of one user's adaptation, by the faster of the others.
        difference: the largest between any two ways' probabilities.
    """

    model: str
    all_threads_ms: float
    one_thread_ms: float | None
    together_ms: float
    ratio: float
    single_ms: float
    difference: float


def main(
    model: Annotated[Path, typer.Option(help="A gradient learner's folder.")] = Path("models/omniglot-maml"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved; the table shows their medians.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Time 30 users' adaptations of 5 steps, 5-way 5-shot, together and one after another, on scikit-learn's digits."""
    device = pick_device(device)
    row = measure(model, device=device, rounds=rounds)
    if as_json:
        about = {"device": device, "cores": cores(), "torch": torch.__version__, "load": os.getloadavg()[0]}
        sys.stdout.write(json.dumps({**about, "rounds": rounds, **asdict(row)}, indent=2) + "\n")
    else:
        print_table(row, device=device, rounds=rounds)


def measure(folder: Path, *, device: str, rounds: int) -> Row:
    """The three ways, round by round."""
    model = checkpoint.load(folder)
    learner = model.learner.to(device)
    supports, queries = tasks(model.card.input, device)
    with ways_of(learner, supports) as runs:
        difference = largest_difference(learner, runs, queries)  # the first runs warm up, too
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for number in track(range(rounds), folder.name, console=Console(stderr=True)):
            names = list(runs)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                seconds[name].append(timed(runs[name]))
    medians = {name: 1000 * statistics.median(times) for name, times in seconds.items()}
    together = medians.pop("together")
    best = min(medians.values())
    return Row(
        model=folder.name,
        all_threads_ms=medians["all threads"],
        one_thread_ms=medians.get("one thread"),
        together_ms=together,
        ratio=together / best,
        single_ms=best / USERS,
        difference=difference,
    )


def tasks(spec: InputSpec, device: str) -> tuple[list[SupportSet], list[Tensor]]:
    """Every user's five digits, handwritten: examples and queries."""
    digits, random = load_digits(), np.random.default_rng(0)
    drawings = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    targets = torch.eye(WAYS).repeat_interleave(SHOTS, dim=0).to(device)
    supports, queries = [], []
    for _ in range(USERS):
        chosen = [
            random.choice(np.flatnonzero(digits.target == digit), SHOTS + QUERIES, replace=False)
            for digit in random.choice(10, WAYS, replace=False)
        ]
        shown, asked = (
            normalize(torch.from_numpy(np.stack([conform(drawings[n], spec) for n in rows])), spec).to(device)
            for rows in (np.ravel([rows[:SHOTS] for rows in chosen]), np.ravel([rows[SHOTS:] for rows in chosen]))
        )
        supports.append(SupportSet(shown, targets, shown.new_ones(len(shown))))
        queries.append(asked)
    return supports, queries


@contextmanager
def ways_of(learner: Learner, supports: list[SupportSet]) -> Iterator[dict[str, Run]]:
    """The ways to adapt to all users' examples."""
    options = AdaptOptions(steps=STEPS)
    on_cpu = supports[0].inputs.device.type == "cpu"
    workers = Workers(learner, count=cores()) if on_cpu else None

    def one_after_another(threads: int) -> list[State]:
        torch.set_num_threads(threads)
        return [adapt_many(learner, [support], options=options)[0] for support in supports]

    runs: dict[str, Run] = {
        "all threads": lambda: one_after_another(cores()),
        "together": lambda: adapt_many(learner, supports, options=options, workers=workers),
    }
    if on_cpu:
        runs["one thread"] = lambda: one_after_another(1)
    try:
        yield runs
    finally:
        if workers is not None:
            workers.close()


def timed(run: Run) -> float:
    """Seconds."""
    began = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def largest_difference(learner: Learner, runs: dict[str, Run], queries: list[Tensor]) -> float:
    """Between any two ways' probabilities; where it is over the tolerance there is nothing to time."""
    answers = torch.stack([torch.stack(predict_many(learner, run(), queries)).softmax(-1) for run in runs.values()])
    difference = float((answers.amax(0) - answers.amin(0)).max())
    if difference > TOLERANCE:
        sys.exit(
            f"the ways answer differently: by {difference:.2g}, at most {TOLERANCE:g} is allowed; nothing was timed"
        )
    return difference


def print_table(row: Row, *, device: str, rounds: int) -> None:
    """A table on standard output."""
    table = Table(
        title=f"{USERS} users' adaptations of {row.model}, {STEPS} steps, {WAYS}-way {SHOTS}-shot, on {device}",
        caption=f"medians of {rounds} rounds on {cores()} cores, load {os.getloadavg()[0]:.1f}; goals: ratio "
        f"{GOAL_RATIO[device]} at most, {GOAL_MS} ms for one user",
        title_justify="left",
        caption_justify="left",
    )
    for name in ("all threads ms", "one thread ms", "together ms", "ratio", "one user ms", "difference"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_row(
        f"{row.all_threads_ms:.0f}",
        "" if row.one_thread_ms is None else f"{row.one_thread_ms:.0f}",
        f"{row.together_ms:.0f}",
        f"{row.ratio:.2f}",
        f"{row.single_ms:.0f}",
        f"{row.difference:.1e}",
    )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
