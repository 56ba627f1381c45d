"""Differences, quartiles, and what the machine is."""

import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor


def relative(found: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> float:
    """|a − b| / |b| over all tensors together."""
    if found.keys() != reference.keys():
        raise SystemExit(f"different tensors: {sorted(found.keys() ^ reference.keys())}")
    off = sum(float((found[name] - value).square().sum()) for name, value in reference.items())
    return float((off / sum(float(value.square().sum()) for value in reference.values())) ** 0.5)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower, the median, the upper."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    lower, middle, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, middle, upper


def processor() -> str:
    """Its name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
