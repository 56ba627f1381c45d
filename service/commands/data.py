"""`kshot data`: look at labelled pictures before a training run is wasted on them."""

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from service.commands.console import DATA_HELP, bars, explained, output, print_json, table
from service.commands.verify import MARKS

if TYPE_CHECKING:
    from meta_core.data_check import DataCheck
    from meta_core.data_verdict import Finding

data = typer.Typer(help="Labelled pictures: check them before they are trained on.", no_args_is_help=True)

_MOST_CLASSES = 30


@data.callback()
def _group() -> None:
    """Labelled pictures: check them before they are trained on."""


@data.command()
def check(
    path: Annotated[Path, typer.Argument(metavar="DIR", help=DATA_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, every file named.")] = False,
) -> None:
    """Look at every picture of a data set and say what would waste a training run.

    Classes and how many pictures each has, sizes, broken files, pictures that occur twice or nearly so (within a
    class, under two labels, in two splits), classes with too few. Exit code 1 if something has to be mended, 2 if
    nothing could be read.

        kshot data check my_pictures/
        kshot data check my_pictures.zip --json | jq '.broken[].file'
    """
    with explained():
        from meta_core.data_check import check as look
        from meta_core.data_verdict import findings, verdict

        with bars() as advance:
            found = look(path, advance=advance)
        told = findings(found)
        sentence = verdict(found, told)
    wrong = any(finding.level == "wrong" for finding in told)
    if as_json:
        print_json({"ok": not wrong, "verdict": sentence, **_everything(found, told)})
    else:
        _print(found, told, sentence)
    if wrong:
        raise typer.Exit(1)


def _everything(found: "DataCheck", told: "list[Finding]") -> dict[str, Any]:
    from meta_core.data_verdict import twice

    return {
        "source": found.source,
        "reader": found.reader,
        "pictures": len(found.pictures),
        "classes": [
            {"split": split, "label": label, "pictures": count} for (split, label), count in found.by_class().items()
        ],
        "sizes": _sizes(found),
        "broken": [{"file": each.name, "reason": each.reason} for each in found.broken],
        "passed_over": list(found.passed_over),
        "duplicates": [
            {
                "exact": group.exact,
                "among": group.among,
                "pictures": [{"split": one.split, "label": one.label, "file": one.name} for one in group.pictures],
            }
            for group in twice(found)
        ],
        "findings": [finding._asdict() for finding in told],
    }


def _sizes(found: "DataCheck") -> dict[str, Any] | None:
    """Of the shorter side, pixels; None where pictures are no files."""
    sides = [min(picture.size) for picture in found.pictures if picture.size is not None]
    if not sides:
        return None
    return {"shorter_side": {"smallest": min(sides), "median": statistics.median(sides), "largest": max(sides)}}


def _print(found: "DataCheck", told: "list[Finding]", sentence: str) -> None:
    console, counts = output(), found.by_class()
    split = any(split for split, _ in counts)
    columns = ["split", "class", "pictures"] if split else ["class", "pictures"]
    sizes = _sizes(found)
    caption = ""
    if sizes:
        side = sizes["shorter_side"]
        caption = f"shorter sides: {side['smallest']} to {side['largest']} px, median {side['median']:g}"
    made = table(
        f"{found.source}: {len(found.pictures):,} pictures", [(name, "left") for name in columns], caption=caption
    )
    rows = [(own or "", label, str(count)) for (own, label), count in counts.items()]
    for row in rows[:_MOST_CLASSES]:
        made.add_row(*map(escape, row if split else row[1:]))
    if len(rows) > _MOST_CLASSES:
        few, most = min(counts.values()), max(counts.values())
        made.add_row(*[""] * split, f"… {len(rows) - _MOST_CLASSES} more", f"{few} to {most} of each of {len(rows)}")
    console.print(made)
    for finding in told:
        console.print(f"{MARKS[finding.level]} {escape(finding.text)}\n  → {escape(finding.advice)}", highlight=False)
    console.print(sentence, style="bold", highlight=False, markup=False)
