"""How a call's cost grows: with examples, queries, stored classifiers, tenants, loaded models, and clients.

Each axis has a service of its own, the shipped models, and pictures that ship with scikit-learn; pictures are encoded
anew each time. Sizes of examples, queries and clients have their turns in each round, so that what disturbs the machine
disturbs all alike. What is expected: a call takes so much for itself and so much for each picture, however many come;
what else the service holds costs nothing; and more clients never lower what is answered by more than a twentieth of the
most.
"""

import json
import statistics
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.growth.axes import AXES, Axis, Plan, Point
from benchmarks.serving import about, pinned

MOST_STEEPER, MOST_BESIDE, LEAST_OF_PEAK = 1.25, 1.1, 0.95
"""What a further picture may cost at the largest sizes, over what it costs at the smaller ones; what a call may take
beside the most of what has nothing to do with it, over beside the least; requests a second with more clients than give
the most."""

out, err = Console(), Console(stderr=True)
if out.width < 120 and not out.is_terminal:
    out = Console(width=120)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="in which every size has its turn")] = 5,
    seconds: Annotated[float, typer.Option(min=0.5, help="of each number of clients")] = 5,
    only: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(axis.name for axis in AXES)}; all")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write all figures there")] = None,
    picture: Annotated[Path | None, typer.Option(help="draw them there, as PNG")] = None,
) -> None:
    """Measure, print, draw, and judge; exit with 1 where something grows as it should not."""
    chosen = [axis for axis in AXES if not only or axis.name in only]
    taken, found = pinned.taken_by_others(), dict[str, list[Point]]()
    with Progress(console=err, transient=True) as progress:
        for axis in chosen:
            bar = progress.add_task(axis.title, total=None)
            found[axis.name] = axis.measure(Plan(rounds, seconds, lambda bar=bar: progress.advance(bar)))
            progress.remove_task(bar)
    for axis in chosen:
        out.print(_table(axis, found[axis.name]))
    verdicts = [_verdict(axis, found[axis.name]) for axis in chosen]
    for text, holds in verdicts:
        out.print(f"{text}: {'it holds' if holds else 'it does NOT hold'}", highlight=False)
    for line in about.warning([taken]):
        out.print(line, highlight=False)
    if json_file is not None:
        figures = {name: [point._asdict() for point in points] for name, points in found.items()}
        json_file.write_text(json.dumps({"cores_taken_by_others": taken, "axes": figures}, indent=2) + "\n")
    if picture is not None:
        _draw(chosen, found).savefig(picture, dpi=110)
    if not all(holds for _, holds in verdicts):
        raise typer.Exit(1)


def _table(axis: Axis, points: list[Point]) -> Table:
    table = Table(title=f"{axis.title}: {axis.measures}, median of the rounds and their range", title_justify="left")
    for column in (axis.unit, axis.measures, "range"):
        table.add_column(column, justify="right")
    for point in points:
        table.add_row(str(point.size), f"{point.middle:.1f}", f"{min(point.figures):.1f}–{max(point.figures):.1f}")
    return table


def _verdict(axis: Axis, points: list[Point]) -> tuple[str, bool]:
    if axis.name in ("examples", "queries"):
        first, second = _slope(points[-3], points[-2]), _slope(points[-2], points[-1])
        return f"{axis.name}: a further one costs {first:.1f} ms, and {second:.1f} ms among the most", (
            second <= MOST_STEEPER * first
        )
    if axis.name == "clients":
        rates = [point.middle for point in points]
        peak = rates.index(max(rates))
        least = min(rates[peak:]) / rates[peak]
        text = f"clients: {rates[peak]:.0f} requests a second with {points[peak].size}, at least {least:.0%} with more"
        return text, least >= LEAST_OF_PEAK
    beside = points[-1].middle / points[0].middle
    return f"{axis.name}: {beside:.2f} × the time with {points[-1].size} as with {points[0].size}", (
        beside <= MOST_BESIDE
    )


def _slope(first: Point, second: Point) -> float:
    """What each further one costs."""
    return (second.middle - first.middle) / (second.size - first.size)


def _draw(axes: list[Axis], found: dict[str, list[Point]]) -> Figure:
    figure = Figure(figsize=(10, 3.1 * ((len(axes) + 2) // 3)), layout="constrained")
    for place, axis in enumerate(axes, 1):
        plot = figure.add_subplot((len(axes) + 2) // 3, 3, place)
        points = found[axis.name]
        sizes, middles = [point.size for point in points], [statistics.median(point.figures) for point in points]
        low = [middle - min(point.figures) for middle, point in zip(middles, points, strict=True)]
        high = [max(point.figures) - middle for middle, point in zip(middles, points, strict=True)]
        plot.errorbar(sizes, middles, yerr=[low, high], marker="o", markersize=4, linewidth=1.2, capsize=2)
        if axis.name not in ("examples", "queries"):
            plot.set_xscale("log")
            plot.set_xticks(sizes, [str(size) for size in sizes])
            plot.minorticks_off()
        plot.set_ylim(bottom=0)
        plot.set_title(axis.title, fontsize=9)
        plot.set_xlabel(axis.unit, fontsize=8)
        plot.set_ylabel(axis.measures, fontsize=8)
        plot.tick_params(labelsize=7)
        plot.grid(alpha=0.25)
    return figure


if __name__ == "__main__":
    typer.run(main)
