"""What the commands share: how data is described, how errors are told, how accuracies are printed."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperCommand

from meta_core.errors import MetaCoreError
from service.errors import ServiceError, StorageError, UnsafeSettings

if TYPE_CHECKING:
    from meta_core.card import Accuracy, Card, SquaredError
    from service.database import Database

Result = TypeVar("Result")

DATA_HELP = "Labelled pictures: a folder or zip of class/file, an .npz (docs/data.md), or `omniglot` to download it."

_FILE_COLUMNS = 150


class ManyValues(TyperCommand):
    """Lets an option that may be repeated take several numbers at once: `--ways 5 20` for `--ways 5 --ways 20`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As of every command."""
        repeatable = {name for param in self.params if getattr(param, "multiple", False) for name in param.opts}
        spread: list[str] = []
        option = ""
        for argument in args:
            further = argument.isdecimal() and option in repeatable and spread[-1] != option
            spread += [option, argument] if further else [argument]
            if not argument.isdecimal():
                option = argument
        return super().parse_args(ctx, spread)


@contextmanager
def explained() -> Iterator[None]:
    """Errors that are somebody's input end in one sentence and exit code 2, not in a traceback."""
    try:
        yield
    except (MetaCoreError, ServiceError, StorageError, UnsafeSettings, ValueError) as error:
        if os.environ.get("KSHOT_TRACEBACK"):
            raise
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(2) from error


def with_database(data_dir: Path | None, call: "Callable[[Database], Awaitable[Result]]") -> Result:
    """What a call says of the database of the settings, also beside a running service.

    Args:
        data_dir: in place of that of the settings.
        call: must leave alone what a running service keeps in memory.
    """
    from service.database import open_database
    from service.settings import Settings

    settings = Settings() if data_dir is None else Settings(data_dir=data_dir)

    async def run() -> Result:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        database = await open_database(settings)
        try:
            return await call(database)
        finally:
            await database.close()

    return asyncio.run(run())


def output() -> Console:
    """Standard output; into a file or a pipe it is wide enough for a table's rows to stay whole."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _FILE_COLUMNS)


def print_json(value: Any) -> None:
    """A value for programs, on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error for each thing that is done, one after the other; off a terminal only its last state."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Else rich would send what goes to a file or a pipe to the terminal of the bar.
    to_terminal = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=to_terminal) as progress:
        tasks = {}

        def advance(doing: str, done: int, of: int) -> None:
            if doing not in tasks:
                tasks[doing] = progress.add_task(doing, total=of)
            progress.update(tasks[doing], completed=done, total=of)

        yield advance


def table(title: str, columns: Sequence[tuple[str, Literal["left", "right"]]], *, caption: str) -> Table:
    """An empty table."""
    made = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for name, justify in columns:
        made.add_column(name, justify=justify, overflow="fold")
    return made


def print_measured(title: str, card: "Card") -> None:
    """What a card was measured at: accuracies, or a regression's errors."""
    if card.errors:
        print_errors(title, card.errors)
    else:
        print_accuracies(title, card.accuracy)


def print_errors(title: str, rows: "Sequence[SquaredError]") -> None:
    """The rows of a regression's card or of `evaluate`, as a table."""
    names = ("tasks", "examples", "steps", "queries", "episodes", "squared error")
    made = table(title, [(name, "left" if name == "tasks" else "right") for name in names], caption="mean ± 95 % CI")
    for row in rows:
        counts = (row.shots, "its own" if row.steps is None else row.steps, row.queries, row.episodes)
        made.add_row(row.data, *(str(count) for count in counts), f"{row.error:.4f} ± {row.ci95:.4f}")
    output().print(made)


def print_accuracies(title: str, rows: "Sequence[Accuracy]") -> None:
    """The rows of a card or of `evaluate`, as a table."""
    caption = "percent ± 95 % CI; inductive: no query's answer depends on another query"
    if not all(row.inductive for row in rows):
        caption += (
            "\ntransductive: batch norm by the statistics of an episode's pictures, as papers measured; never served so"
        )
    made = table(
        title,
        (
            ("data", "left"),
            ("protocol", "left"),
            ("mode", "left"),
            ("ways", "right"),
            ("shots", "right"),
            ("queries", "right"),
            ("episodes", "right"),
            ("accuracy", "right"),
        ),
        caption=caption,
    )
    for row in rows:
        counts = (row.ways, row.shots, row.queries, row.episodes)
        figure = f"{row.accuracy:.2f} ± {row.ci95:.2f}"
        made.add_row(row.data, row.protocol, row.mode, *(str(count) for count in counts), figure)
    output().print(made)
