"""Wall time of what runs on a device, which is over only when the device says so."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def seconds_of(run: Callable[[], object], device: str) -> float:
    """One run's, begun on an idle device."""
    _wait(device)
    began = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - began


def in_turns(runs: Mapping[str, Callable[[], object]], *, rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each, a list a run, one value a round: what disturbs the machine disturbs all alike.

    A first round, in which kernels are chosen and memory is taken, does not count.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        names = list(runs)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seconds = seconds_of(runs[name], device)
            if number:
                found[name].append(seconds)
    return found


def ratio(numerators: list[float], denominators: list[float]) -> float:
    """The rounds' median of one over the other."""
    return statistics.median(above / below for above, below in zip(numerators, denominators, strict=True))


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
