"""The load, from a process of its own: `benchmarks/load.py`."""

from collections.abc import Sequence

from benchmarks.generating import generate
from benchmarks.serving import pinned
from benchmarks.serving.figures import Cell, cell
from benchmarks.serving.running import HOST


class Load:
    """Requests for one server.

    Args:
        port: of the server.
        requests: prepared; each client takes them in turns.
        cores: of the generator.
    """

    def __init__(self, port: int, requests: Sequence[bytes], *, cores: frozenset[int]) -> None:
        self._port, self._requests, self._cores = port, requests, cores

    def closed(self, clients: int, *, seconds: float) -> Cell:
        """So many clients, each of which asks again as soon as it is answered."""
        return self._run(clients=clients, seconds=seconds)

    def open(self, rate: float, *, seconds: float) -> Cell:
        """So many requests a second whatever becomes of them, each timed from when it was due."""
        return self._run(rate=rate, seconds=seconds)

    def _run(self, **plan: float) -> Cell:
        with pinned.on(self._cores):
            return cell(generate(HOST, self._port, self._requests, **plan))
