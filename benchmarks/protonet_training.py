"""The meta-training step of ProtoNet, side by side with easyfsl and with the authors' computation in plain torch.

What is computed: a gradient step of one 60-way task with 5 examples and 5 queries a class (600 pictures of 28×28,
Omniglot), Conv-4-64, as Snell et al. 2017 train. kshot takes its trainer's own step: it draws the task from the
resident pictures and normalizes it, which the peers, whose tasks lie ready, need not; it computes in bf16 under
autocast, as its shipped recipes for ProtoNet do, and has the C library keep freed memory, as `kshot train` does. The
peers compute as their documentation has it, in fp32, with the allocator as it is.

How: every contestant gets the same initial weights and pictures in one file and computes in a process of its own, the
peers in an environment of their own with the same version of torch. Before anything is timed, kshot and plain torch
must find the same gradient in float64 to 1e-8, and kshot and easyfsl the same distances (easyfsl scores by their roots,
which Snell et al. do not). Then steps are timed one at a time, in turn, each contestant once a round; a ratio is of two
steps of one round, and the table gives the rounds' median and quartiles. The lower rows, apart from the contest, tell
what the speed is made of: kshot in fp32, with the allocator as it is, and with the augmentation of its shipped recipe;
easyfsl with kshot's allocator, layout and precision. What bf16 does to the finished model is in `docs/results.md`.
"""

import json
import platform
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from protonet_step import inputs
from protonet_step.settings import Settings
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from stepping import environments
from stepping.comparing import processor, quartiles, relative
from stepping.processes import Process

OURS, PEERS = "kshot", ("easyfsl", "plain")
LIMIT = 1e-8
"""Relative difference in float64."""

out, err = Console(), Console(stderr=True)
if out.width < 120 and not out.is_terminal:
    out = Console(width=120)
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@dataclass
class Row:
    """A contestant's line of the table."""

    name: str
    how: str
    settings: Settings
    counts: bool = True
    seconds: list[float] = field(default_factory=list)

    def times(self, ours: "Row") -> tuple[float, float, float]:
        """Quartiles of how many times kshot's seconds this takes, round by round."""
        return quartiles([theirs / own for theirs, own in zip(self.seconds, ours.seconds, strict=True)])


@app.command(help=__doc__)
def main(
    rounds: Annotated[int, typer.Option(min=3, help="timed steps of each contestant")] = 15,
    cores: Annotated[int, typer.Option(min=1, help="processor cores for each contestant")] = 2,
    require: Annotated[
        float, typer.Option(help="exit with 1 unless kshot is this many times faster than easyfsl")
    ] = 2.5,
    json_file: Annotated[Path | None, typer.Option("--json", help="write all figures there")] = None,
) -> None:
    """Compare, time, print the table, and judge."""
    python = environments.peers_python(err)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = folder / "inputs.safetensors"
        pictures = inputs.write(file, seed=0)

        def process(name: str, *, keep_memory: bool = False) -> Process:
            python_of = Path(sys.executable) if name == OURS else python
            return stack.enter_context(
                Process(
                    name, package="protonet_step", python=python_of, file=file, cores=cores, keep_memory=keep_memory
                )
            )

        # Rows that differ in settings alone have processes of their own, so that none finds another's memory.
        rows = _rows(cores)
        processes = {name: process(name) for name in (OURS, *PEERS)}
        differences = _compare(processes, cores)
        # What kshot sets by itself, its trainer's process is told by the trainer; a peer's by its environment.
        own = [
            process(row.settings.contestant, keep_memory=row.settings.keep_memory and row.settings.contestant != OURS)
            for row in rows
        ]
        _time(rows, own, rounds)
        versions = own[1].ask("versions", packages=["easyfsl"])
    figures = {
        "what": f"python {platform.python_version()}, torch {version('torch')}, easyfsl {versions['easyfsl']}; "
        f"{processor()}, {cores} cores; {pictures}",
        "differences": differences,
        "rows": [{"name": row.name, "settings": asdict(row.settings), "seconds": row.seconds} for row in rows],
    }
    out.print(figures["what"], highlight=False)
    out.print(_table(rows))
    named = ", ".join(f"{what} {value:.0e}" for what, value in differences.items())
    out.print(f"relative differences: {named}", highlight=False)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    _judge(rows, require)


def _rows(cores: int) -> list[Row]:
    def settings(contestant: str, **more: Any) -> Settings:
        return Settings(contestant, threads=cores, **more)

    ours: dict[str, Any] = {"precision": "bf16", "keep_memory": True}
    theirs: dict[str, Any] = {"precision": "bf16", "layout": "channels_last", "keep_memory": True}
    return [
        Row(OURS, "as `kshot train`: bf16, keeps memory, draws", settings(OURS, **ours)),
        Row("easyfsl", "fp32, as documented", settings("easyfsl")),
        Row("plain torch", "fp32, as the authors compute", settings("plain")),
        Row(OURS, "the same with augmentation", settings(OURS, **ours, augment=True), counts=False),
        Row(OURS, "fp32, keeps memory", settings(OURS, keep_memory=True), counts=False),
        Row(OURS, "bf16, the allocator as it is", settings(OURS, precision="bf16"), counts=False),
        Row("easyfsl", "fp32, keeps memory", settings("easyfsl", keep_memory=True), counts=False),
        Row("easyfsl", "bf16, channels last, keeps memory", settings("easyfsl", **theirs), counts=False),
    ]


def _compare(processes: dict[str, Process], cores: int) -> dict[str, float]:
    """Relative differences: gradients from plain torch's, distances from easyfsl's; bf16 from kshot's own.

    Raises:
        SystemExit: those in float64 do not compute the same.
    """
    exact = {"dtype": "float64", "threads": cores}
    for name, process in processes.items():
        process.become(Settings(name, **exact))
    ours = processes[OURS]
    # Distances first: a step moves the running statistics that they are of, each contestant's in its own way.
    distances = relative(ours.tell("squared_distances"), processes["easyfsl"].tell("squared_distances"))
    gradient = ours.tell("gradient")
    found = {
        "gradient, float64": relative(gradient, processes["plain"].tell("gradient")),
        "distances, float64": distances,
    }
    if (worst := max(found.values())) > LIMIT:
        raise SystemExit(f"the contestants differ by {worst:.1e}: {found}")
    ours.become(Settings(OURS, threads=cores, precision="bf16"))
    return found | {"kshot's gradient in bf16 from float64": relative(ours.tell("gradient"), gradient)}


def _time(rows: list[Row], processes: list[Process], rounds: int) -> None:
    """A step of each in turn, after two that do not count."""
    for row, process in zip(rows, processes, strict=True):
        process.become(row.settings)
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("timing", total=(rounds + 2) * len(rows))
        for number in range(rounds + 2):
            for row, process in zip(rows, processes, strict=True):
                seconds = process.seconds()
                if number >= 2:
                    row.seconds.append(seconds)
                progress.advance(bar)


def _table(rows: list[Row]) -> Table:
    table = Table(title="one step: 60-way, 5 examples and 5 queries a class", title_justify="left")
    for name in ("contestant", "how", "ms", "quartiles", "× kshot's time", "quartiles"):
        table.add_column(name, justify="left" if name in ("contestant", "how") else "right")
    for position, row in enumerate(rows):
        lower, middle, upper = (1e3 * value for value in quartiles(row.seconds))
        low, ratio, high = row.times(rows[0])
        cells = (f"{middle:.0f}", f"{lower:.0f}–{upper:.0f}", f"{ratio:.2f}", f"{low:.2f}–{high:.2f}")
        end = position + 1 < len(rows) and row.counts and not rows[position + 1].counts
        table.add_row(row.name, row.how, *cells, style=None if row.counts else "dim", end_section=end)
    return table


def _judge(rows: list[Row], require: float) -> None:
    """Say by how much kshot is faster than easyfsl, and exit with 1 where it is not enough."""
    ratio = statistics.median(theirs / own for theirs, own in zip(rows[1].seconds, rows[0].seconds, strict=True))
    holds = ratio >= require
    verdict = "it holds" if holds else "it does not hold"
    out.print(f"kshot takes a step {ratio:.2f} × as fast as easyfsl; required {require:g}: {verdict}", highlight=False)
    if not holds:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
