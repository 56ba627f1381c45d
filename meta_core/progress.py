"""A progress bar for whatever counts episodes: how many, how fast, how long still."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
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


class TuningBar:
    """One bar over the time that there is; made by `tuning_bar`."""

    def __init__(self, progress: Progress, seconds: float) -> None:
        self._progress, self._began = progress, time.monotonic()
        self._task = progress.add_task("tuning", total=seconds, note="the recipe as it is")

    def show(self, note: str) -> None:
        """So far the clock has come, with a remark behind."""
        self._progress.update(self._task, completed=time.monotonic() - self._began, note=note)


@contextmanager
def tuning_bar(seconds: float) -> Iterator[TuningBar]:
    """Show a bar of so many seconds on standard error while the block runs; off a terminal, only its last state."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield TuningBar(progress, seconds)


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
