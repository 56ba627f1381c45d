"""The lecture learners beside their papers, out of the cards of saved runs: `make lectures-table RUNS=runs`."""

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from meta_core.card import Accuracy, Card
from meta_core.checkpoint import CARD, read_card

ROOT = Path(__file__).parents[1]
PAGE, PUBLISHED = ROOT / "docs" / "results.md", Path(__file__).with_name("published.toml")
BEGIN, END = "<!-- lectures-table: made by `make lectures-table` -->", "<!-- end of lectures-table -->"
WAYS, SHOTS = 5, (1, 5)


def main(
    folders: Annotated[list[Path], typer.Argument(help="Model folders, or folders of them.")],
    write: Annotated[bool, typer.Option("--write", help="Into docs/results.md, in place of the table there.")] = False,
) -> None:
    """Print the table, or write it: a row for each card that was measured at 5 ways and 1 and 5 shots, inductive."""
    cards = [read_card(folder) for folder in find(folders)]
    rows = [row for row in (row_of(card, published(PUBLISHED)) for card in cards) if row is not None]
    if not rows:
        sys.stderr.write(f"no card of {', '.join(map(str, folders))} has figures at {WAYS} ways, inductive\n")
        raise typer.Exit(1)
    text = table(rows)
    if write:
        PAGE.write_text(placed(PAGE.read_text("utf-8"), text), "utf-8")
    sys.stdout.write(text)


def find(folders: Iterable[Path]) -> list[Path]:
    """The folders that hold a card, at most one level down, by name."""
    found = {each for folder in folders for each in (folder, *folder.glob("*")) if (each / CARD).is_file()}
    return sorted(found, key=lambda folder: folder.name)


def published(path: Path) -> dict[str, dict[str, object]]:
    """What papers report, by recipe or learner."""
    return tomllib.loads(path.read_text("utf-8"))


def row_of(card: Card, papers: dict[str, dict[str, object]]) -> str | None:
    """A line of the table, or None where the card has no such figures, or nobody named what they stand for."""
    ours = {shots: _figure(card.accuracy, shots) for shots in SHOTS}
    recipe = card.training.recipe if card.training else card.name
    paper = papers.get(recipe) or papers.get(card.learner.name)
    if None in ours.values() or paper is None:
        return None
    theirs = {str(shots): figure for shots, figure in dict(paper["shots"]).items()}  # type: ignore[call-overload]
    cells = [
        f"{paper['title']} (`{recipe}`)",
        _trained(card),
        *(str(ours[shots]) for shots in SHOTS),
        *(str(theirs.get(str(shots), "–")) for shots in SHOTS),
        str(paper["paper"]),
    ]
    return f"| {' | '.join(cells)} |"


def table(rows: list[str]) -> str:
    """The whole table, in Markdown."""
    head = [
        "| | trained for | 5-way 1-shot | 5-way 5-shot | paper, 1-shot | paper, 5-shot | paper |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def placed(page: str, text: str) -> str:
    """The page with the table between its marks.

    Raises:
        ValueError: the page has no such place.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has no place for the table: expected {BEGIN} and {END}")
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def _figure(rows: list[Accuracy], shots: int) -> str | None:
    own = [row for row in rows if (row.ways, row.shots, row.protocol) == (WAYS, shots, "episodes") and row.inductive]
    best = max(own, key=lambda row: row.episodes, default=None)
    return best and f"{best.accuracy:.2f} ± {best.ci95:.2f} ({best.episodes:,} episodes)"


def _trained(card: Card) -> str:
    if card.training is None or not card.training.steps:
        return "not meta-trained"
    tasks = card.training.steps * card.training.tasks_per_step
    setting = {None: "", "short": "; the short setting", "full": "; the paper's setting"}[card.training.setting]
    return f"{card.training.steps:,} steps, {tasks:,} tasks{setting}"


if __name__ == "__main__":
    typer.run(main)
