"""The load, from a process of its own: `benchmarks/load.py`."""

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.serving import pinned
from benchmarks.serving.figures import Cell, cell
from benchmarks.serving.running import HOST

_PROGRAM = Path(__file__).parents[1] / "load.py"


class Load:
    """Requests for one server.

    Args:
        port: of the server.
        requests: prepared; each client takes them in turns.
        cores: of the generator.
    """

    def __init__(self, port: int, requests: Sequence[bytes], *, cores: frozenset[int]) -> None:
        encoded = [base64.b64encode(each).decode() for each in requests]
        self._plan = {"host": HOST, "port": port, "requests": encoded}
        self._cores = cores

    def closed(self, clients: int, *, seconds: float) -> Cell:
        """So many clients, each of which asks again as soon as it is answered."""
        return self._run({"clients": clients, "seconds": seconds})

    def open(self, rate: float, *, seconds: float) -> Cell:
        """So many requests a second whatever becomes of them, each timed from when it was due."""
        return self._run({"rate": rate, "seconds": seconds})

    def _run(self, plan: dict[str, float]) -> Cell:
        with pinned.on(self._cores):
            done = subprocess.run(
                [sys.executable, _PROGRAM],
                input=json.dumps(self._plan | plan).encode(),
                capture_output=True,
                check=True,
            )
        return cell(json.loads(done.stdout))
