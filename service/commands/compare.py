"""`kshot compare`: which model should I use?"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from service.commands.console import DATA_HELP, explained, output, table

if TYPE_CHECKING:
    from meta_core.compare import Comparison
    from meta_core.verdict import Row

_HOW = """percent ± 95 % CI over episodes; ms: encoding included, one task alone, this machine, without HTTP
≈ cannot be told from {whom}: the 95 % CI of the mean difference, episode by episode, includes 0"""


def compare(
    data: Annotated[list[Path], typer.Option(help=f"{DATA_HELP} Repeatable: one table each, and that of the mean.")],
    ways: Annotated[int, typer.Option(min=2, help="Classes of an episode: how many you tell apart at once.")] = 5,
    shots: Annotated[int, typer.Option(min=1, help="Examples a class: how many you would label.")] = 5,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Queries a class; as the smallest class allows, at most 15, unless set.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Episodes a model, where the time allows.")] = 200,
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model of the folder, and the baselines on it; repeatable.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="The row that all are held against, by its name; the best unless set.")
    ] = None,
    models_dir: Annotated[
        Path | None, typer.Option(help="Folder of model folders; ./models, else the shipped ones, unless set.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which part of the data; `evaluation` where the data has it, else all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed asks the same episodes.")] = 0,
    budget_seconds: Annotated[
        float, typer.Option(min=0, help="Time for each data; slow models stop early, with wider intervals.")
    ] = 150,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Which model should I use? Every model and the usual baselines on your own labelled pictures, in one table.

    All are asked the same episodes: adapt to SHOTS pictures of each of WAYS classes, classify others of these classes.
    Baselines train a new last layer, or all layers, on a shipped model's encoder; if one of them wins, meta-training
    was not for your kind of pictures. Takes under three minutes on two cores.

        kshot compare --data my_pictures/ --ways 5 --shots 5
    """
    from meta_core.compare import compare as run
    from meta_core.datasets import default_split
    from meta_core.verdict import pool
    from service.settings import Settings

    with explained():
        settings = Settings()
        splits = [split or default_split(path) for path in data]  # of all, before the first takes its minutes
        found = [
            run(
                models_dir or settings.models_dir,
                path,
                ways=ways,
                shots=shots,
                queries=queries,
                episodes=episodes,
                seed=seed,
                split=own_split,
                only=model or (),
                against=against,
                default=settings.default_model,
                budget_seconds=budget_seconds,
            )
            for path, own_split in zip(data, splits, strict=True)
        ]
        mean = pool([each.results for each in found], against=against) if len(found) > 1 else []
    if as_json:
        told = [_told(each) for each in found]
        whole = told[0] if len(told) == 1 else {"comparisons": told, "mean": [asdict(row) for row in mean]}
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
        return
    for each in found:
        _print(each, against=against)
    if mean:
        asked = f"{ways} ways, {shots} shots"
        output().print(_table(f"mean of {', '.join(each.data for each in found)}: {asked}", mean, against=against))


def _told(found: "Comparison") -> dict[str, Any]:
    """As JSON takes it: without the single episodes."""
    return {name: value for name, value in asdict(replace(found, results=[])).items() if name != "results"}


def _table(title: str, rows: "Sequence[Row]", *, against: str | None) -> Table:
    made = table(
        title,
        (
            ("", "left"),
            ("name", "left"),
            ("learner", "left"),
            ("accuracy", "right"),
            (f"behind {against}" if against else "behind", "right"),
            ("episodes", "right"),
            ("ms to adapt", "right"),
            ("ms a query", "right"),
            ("state bytes", "right"),
        ),
        caption=_HOW.format(whom=against or "the best"),
    )
    for place, row in enumerate(rows):
        made.add_row(*_cells(row, best=place == 0, same=row.name == against or (place == 0 and against is None)))
    return made


def _print(found: "Comparison", *, against: str | None) -> None:
    plan = found.plan
    title = f"{found.data}: {plan.ways} ways, {plan.shots} shots, {plan.queries} queries a class"
    made = _table(title, found.rows, against=against)
    for each in found.unfit:
        made.add_row("✗", each.name, each.kind, "see below")
    console = output()
    console.print(made)
    for each in found.unfit:
        console.print(f"✗ {each.name}: {each.reason}", highlight=False, markup=False)
    for note in found.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    console.print(found.advice, style="bold", highlight=False, markup=False)


def _cells(row: "Row", *, best: bool, same: bool) -> tuple[str, ...]:
    mark = "best" if best else "≈" if row.tied and not same else ""
    return (
        mark,
        row.name,
        row.kind,
        f"{row.accuracy:.2f} ± {row.ci95:.2f}",
        "" if same else f"{row.behind:.2f} ± {row.behind_ci95:.2f}",
        str(row.episodes),
        f"{row.adapt_ms:.1f}",
        f"{row.query_ms:.1f}",
        f"{row.state_bytes:,}",
    )
