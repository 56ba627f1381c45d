"""`kshot compare`: which model should I use?"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.console import DATA_HELP, explained, output, table

if TYPE_CHECKING:
    from meta_core.compare import Comparison
    from meta_core.verdict import Row

_HOW = """percent ± 95 % CI over episodes; ms: encoding included, one task alone, this machine, without HTTP
≈ cannot be told from the best: the 95 % CI of the mean difference, episode by episode, includes 0"""


def compare(
    data: Annotated[Path, typer.Option(help=DATA_HELP)],
    ways: Annotated[int, typer.Option(min=2, help="Classes of an episode: how many you tell apart at once.")] = 5,
    shots: Annotated[int, typer.Option(min=1, help="Examples a class: how many you would label.")] = 5,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Queries a class; as the smallest class allows, at most 15, unless set.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Episodes a model, where the time allows.")] = 200,
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model of the folder, and the baselines on it; repeatable.")
    ] = None,
    models_dir: Annotated[
        Path | None, typer.Option(help="Folder of model folders; ./models, else the shipped ones, unless set.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which part of the data; `evaluation` where the data has it, else all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed asks the same episodes.")] = 0,
    budget_seconds: Annotated[
        float, typer.Option(min=0, help="Time for everything; slow models stop early, with wider intervals.")
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
    from service.settings import Settings

    with explained():
        settings = Settings()
        found = run(
            models_dir or settings.models_dir,
            data,
            ways=ways,
            shots=shots,
            queries=queries,
            episodes=episodes,
            seed=seed,
            split=split or default_split(data),
            only=model or (),
            default=settings.default_model,
            budget_seconds=budget_seconds,
        )
    if as_json:
        sys.stdout.write(json.dumps(asdict(found), indent=2) + "\n")
    else:
        _print(found)


def _print(found: "Comparison") -> None:
    made = table(
        f"{found.data}: {found.plan.ways} ways, {found.plan.shots} shots, {found.plan.queries} queries a class",
        (
            ("", "left"),
            ("name", "left"),
            ("learner", "left"),
            ("accuracy", "right"),
            ("behind", "right"),
            ("episodes", "right"),
            ("ms to adapt", "right"),
            ("ms a query", "right"),
            ("state bytes", "right"),
        ),
        caption=_HOW,
    )
    for place, row in enumerate(found.rows):
        made.add_row(*_cells(row, best=place == 0))
    for each in found.unfit:
        made.add_row("✗", each.name, each.kind, "see below")
    console = output()
    console.print(made)
    for each in found.unfit:
        console.print(f"✗ {each.name}: {each.reason}", highlight=False, markup=False)
    for note in found.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    console.print(found.advice, style="bold", highlight=False, markup=False)


def _cells(row: "Row", *, best: bool) -> tuple[str, ...]:
    mark = "best" if best else "≈" if row.tied else ""
    return (
        mark,
        row.name,
        row.kind,
        f"{row.accuracy:.2f} ± {row.ci95:.2f}",
        "" if best else f"{row.behind:.2f} ± {row.behind_ci95:.2f}",
        str(row.episodes),
        f"{row.adapt_ms:.1f}",
        f"{row.query_ms:.1f}",
        f"{row.state_bytes:,}",
    )
