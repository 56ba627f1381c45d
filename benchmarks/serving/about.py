"""The machine and the versions, without which no figure means anything."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.serving import pinned
from benchmarks.serving.contestants import ENGINES
from benchmarks.serving.environments import shared_requirements
from benchmarks.serving.rounds import Plan

_ASK = "import sys; from importlib.metadata import version; print(*(version(name) for name in sys.argv[1:]))"
BUSY = 0.1
"""Cores taken by others above which figures are not to be trusted."""


def about(plan: Plan) -> dict[str, Any]:
    """Everything that stands above the tables."""
    return {
        "machine": _processor(),
        "cores": {"server": sorted(plan.cores.server), "generator": sorted(plan.cores.generator)},
        "cores_taken_by_others": pinned.taken_by_others(),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "versions": {"python": platform.python_version(), "kshot": version("kshot")}
        | dict(requirement.split("==") for requirement in shared_requirements())
        | {name: number for engine in plan.engines for name, number in _versions(engine, plan).items()},
    }


def sentences(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    cores, versions = found["cores"], found["versions"]
    apart = "on others" if not set(cores["server"]) & set(cores["generator"]) else "on the same"
    said = [
        f"{found['machine']}; servers on {len(cores['server'])} cores, the load {apart}; "
        f"{found['rounds']} round(s), {found['seconds']:g} s a load",
        ", ".join(f"{name} {number}" for name, number in versions.items()),
    ]
    return said + warning([found["cores_taken_by_others"]])


def warning(taken: list[float]) -> list[str]:
    """A sentence where others' processes made the figures worthless."""
    if max(taken) <= BUSY:
        return []
    return [
        f"Other processes took {max(taken):.1f} cores of this machine: these figures show that all works, and nothing "
        "about speed."
    ]


def _versions(engine: str, plan: Plan) -> dict[str, str]:
    packages = ENGINES[engine].packages
    python = plan.python[ENGINES[engine].environment]
    said = subprocess.run([python, "-c", _ASK, *packages], capture_output=True, text=True, check=True).stdout
    return dict(zip(packages, said.split(), strict=True))


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or sys.platform
