"""Thirty users' MAML adaptations together against one after another: `make bench-adaptation`."""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from meta_core.batching import adapt_many, predict_many
from meta_core.device import cores, pick_device
from meta_core.episode import State, SupportSet
from meta_core.learner import AdaptOptions, Learner
from meta_core.parallel import Workers
from meta_core.registry import BACKBONES, LEARNERS

USERS, WAYS, SHOTS, STEPS, QUERIES = 30, 5, 5, 5, 15
TOLERANCE = 1e-4
GOAL_RATIO, GOAL_MS = {"cpu": 0.85, "cuda": 0.5}, 150

Run = Callable[[], list[State]]


@dataclass
class Row:
    """What was measured of one backbone; milliseconds are medians over rounds, of all users.

    Attributes:
        network: the backbone.
        all_threads_ms: one after another, each with all of torch's threads.
        one_thread_ms: one after another with one thread; None on CUDA.
        together_ms: in one call.
        ratio: together against the faster of the others.
        single_ms: of one user's adaptation, by the faster of the others.
        difference: the largest between any two ways' probabilities.
    """

    network: str
    all_threads_ms: float
    one_thread_ms: float | None
    together_ms: float
    ratio: float
    single_ms: float
    difference: float


def main(
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved; the table shows their medians.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Time 30 users' adaptations of 5 steps, 5-way 5-shot at 28×28 on Conv-4-64, together and one after another."""
    device = pick_device(device)
    rows = [measure(down, device=device, rounds=rounds) for down in ("pool", "stride")]
    if as_json:
        about = {"device": device, "cores": cores(), "torch": torch.__version__, "load": os.getloadavg()[0]}
        sys.stdout.write(
            json.dumps({**about, "rounds": rounds, "rows": [asdict(row) for row in rows]}, indent=2) + "\n"
        )
    else:
        print_table(rows, device=device, rounds=rounds)


def measure(down: str, *, device: str, rounds: int) -> Row:
    """The three ways, round by round."""
    torch.manual_seed(0)
    backbone = BACKBONES.build("conv4", input_shape=(1, 28, 28), norm="group", down=down)
    learner = LEARNERS.build("maml", backbone=backbone).to(device).eval().requires_grad_(requires_grad=False)
    supports, queries = tasks(device)
    with ways_of(learner, supports) as runs:
        difference = largest_difference(learner, runs, queries)  # the first runs warm up, too
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        title = f"Conv-4-64, {down}"
        for number in track(range(rounds), title, console=Console(stderr=True)):
            names = list(runs)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                seconds[name].append(timed(runs[name]))
    medians = {name: 1000 * statistics.median(times) for name, times in seconds.items()}
    together = medians.pop("together")
    best = min(medians.values())
    return Row(
        network=title,
        all_threads_ms=medians["all threads"],
        one_thread_ms=medians.get("one thread"),
        together_ms=together,
        ratio=together / best,
        single_ms=best / USERS,
        difference=difference,
    )


def tasks(device: str) -> tuple[list[SupportSet], list[Tensor]]:
    """Every user's examples and queries: noise, which takes as long as drawings do."""
    generator, count = torch.Generator().manual_seed(0), WAYS * SHOTS
    pictures = torch.rand(USERS, count + QUERIES, 1, 28, 28, generator=generator).to(device)
    targets = torch.eye(WAYS).repeat_interleave(SHOTS, dim=0).to(device)
    supports = [SupportSet(user[:count], targets, user.new_ones(count)) for user in pictures]
    return supports, [user[count:] for user in pictures]


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
    answers = []
    for run in runs.values():
        logits = predict_many(learner, run(), queries)
        answers.append(torch.stack(logits).softmax(-1))
    difference = float((torch.stack(answers).amax(0) - torch.stack(answers).amin(0)).max())
    if difference > TOLERANCE:
        sys.exit(
            f"the ways answer differently: by {difference:.2g}, at most {TOLERANCE:g} is allowed; nothing was timed"
        )
    return difference


def print_table(rows: list[Row], *, device: str, rounds: int) -> None:
    """A table on standard output."""
    table = Table(
        title=f"{USERS} users' MAML adaptations, {STEPS} steps, {WAYS}-way {SHOTS}-shot, 28×28, on {device}",
        caption=f"medians of {rounds} rounds on {cores()} cores, load {os.getloadavg()[0]:.1f}; goals: ratio "
        f"{GOAL_RATIO[device]} at most, {GOAL_MS} ms for one",
        title_justify="left",
        caption_justify="left",
    )
    for name in ("network", "one by one, ms", "with one thread, ms", "together, ms", "ratio", "one, ms", "difference"):
        table.add_column(name, justify="left" if name == "network" else "right")
    for row in rows:
        one_thread = "" if row.one_thread_ms is None else f"{row.one_thread_ms:.0f}"
        table.add_row(
            row.network,
            f"{row.all_threads_ms:.0f}",
            one_thread,
            f"{row.together_ms:.0f}",
            f"{row.ratio:.2f}",
            f"{row.single_ms:.0f}",
            f"{row.difference:.1e}",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
