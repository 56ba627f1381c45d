"""Processor cores shared out between whoever serves and the load generator."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psutil


class Cores(NamedTuple):
    """Numbers of processor cores.

    Attributes:
        server: of each contestant, one at a time.
        generator: of the load: others where the machine has more, else the same.
    """

    server: frozenset[int]
    generator: frozenset[int]


def share_out(count: int) -> Cores:
    """The first `count` for the server, and the rest, if there is any, for the load.

    Raises:
        SystemExit: this process may not use so many.
    """
    usable = sorted(os.sched_getaffinity(0))
    if count > len(usable):
        raise SystemExit(f"--cores {count} came; this process may use {len(usable)}")
    return Cores(frozenset(usable[:count]), frozenset(usable[count:] or usable))


def taken_by_others(seconds: float = 1.0) -> float:
    """Cores that the machine's processes take while nothing of the benchmark runs."""
    return float(psutil.cpu_percent(interval=seconds)) / 100 * (psutil.cpu_count() or 1)


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """Processes started within stay on these cores, from their first instruction."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
