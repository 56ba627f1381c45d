"""How many cores this process may use: those it is bound to, or fewer where a container's limit is a share of them."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """At least one."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = quota()
    return there if share is None else max(1, min(there, round(share)))


def quota(cgroup: Path = _CGROUP) -> float | None:
    """Cores that a container may use, where its limit is no set of cores; None where there is none.

    Args:
        cgroup: where the kernel tells it, by either version of control groups.
    """
    try:
        most, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            most, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    return int(most) / int(period) if most != "max" and int(most) > 0 else None
