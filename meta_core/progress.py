"""A progress bar for whatever counts episodes: how many, how fast, how long still."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


def say(line: str) -> None:
    """A line on standard error, where the bars are."""
    Console(stderr=True).print(line, highlight=False)


class _EpisodesPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} episodes/s" if task.speed else "… episodes/s")


class EpisodesBar:
    """One bar; made by `episodes_bar`."""

    def __init__(self, progress: Progress, title: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total, note="")

    def advance(self, episodes: int) -> None:
        """So many more are done."""
        self._progress.advance(self._task, episodes)

    def show(self, episodes: int, *, of: int, note: str) -> None:
        """So many are done of so many, with a remark behind."""
        self._progress.update(self._task, completed=episodes, total=of, note=note)


@contextmanager
def episodes_bar(title: str, *, total: int | None = None, shown: bool = True) -> Iterator[EpisodesBar]:
    """Show a bar on standard error while the block runs; off a terminal, only its last state."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _EpisodesPerSecond(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        yield EpisodesBar(progress, title, total)
