"""What every part of the benchmark takes and gives."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Plan(NamedTuple):
    """How much is measured.

    Attributes:
        device: `cuda`, or `cpu` for a look at the benchmark itself.
        rounds: in which everything has its turn.
        seconds: of a load.
        data: folder of the data sets.
        tiny: the smallest sizes that still run every line.
    """

    device: str
    rounds: int
    seconds: float
    data: Path
    tiny: bool


class Verdict(NamedTuple):
    """A target: what was wanted, and whether it came; None where nothing can be said of it."""

    text: str
    met: bool | None


class Found(NamedTuple):
    """A part's table.

    Attributes:
        title: above it.
        columns: the first is of names.
        rows: as they are shown.
        figures: everything, for JSON.
        verdicts: on the targets.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Any
    verdicts: Sequence[Verdict]


class Part(NamedTuple):
    """One of the benchmark's.

    Attributes:
        name: on the command line.
        measure: it.
    """

    name: str
    measure: Callable[[Plan], Found]
