"""Before anything is timed: do all answer the same, and which of its ways is each peer's fastest?"""

from collections.abc import Callable, Iterable, Sequence

from benchmarks.serving.agreeing import largest_difference
from benchmarks.serving.contestants import ENGINES, OURS, Contestant, ways_of
from benchmarks.serving.figures import Cell
from benchmarks.serving.loading import Load
from benchmarks.serving.prepare import Prepared
from benchmarks.serving.running import DidNotStart, Endpoint
from benchmarks.serving.settings import CLIENTS

_BEST = 2
"""Peers that are tried again on ONNX Runtime."""

Turn = Callable[[Contestant, Callable[[Endpoint], Cell]], Cell]
"""Starts a contestant, lets it be looked at, and stops it."""


class Qualification:
    """Everybody's answers, and the fastest ways.

    Args:
        prepared: what is served.
        turn: gives a contestant its turn.
        generator: cores of the load.
        seconds: of a trial.

    Attributes:
        contestants: kshot first, in fp32 and in 8 bits, each peer by its fastest way, the best peers again on ONNX
            Runtime in both.
        differences: largest from the reference probabilities, by way.
        trials: requests a second of each way tried.
        failed: why a way did not start; it takes no part.
    """

    def __init__(self, prepared: Prepared, *, turn: Turn, generator: frozenset[int], seconds: float) -> None:
        self._prepared, self._turn, self._generator, self._seconds = prepared, turn, generator, seconds
        self.contestants: list[Contestant] = []
        self.differences: dict[Contestant, float] = {}
        self.trials: dict[Contestant, float] = {}
        self.failed: dict[Contestant, str] = {}

    def choose(self, engines: Sequence[str]) -> None:
        """Compare all, and choose by trials.

        Raises:
            Disagreement: somebody answers something else.
            DidNotStart: kshot does not.
        """
        self.contestants = [Contestant(OURS, runtime) for runtime in ("onnx", "int8")]
        for ours in self.contestants:
            self._try(ours)
        for engine in engines:
            self._add_fastest(ways_of(engine))
        peers = [each for each in self.contestants if each.engine != OURS and ENGINES[each.engine].counts]
        best = sorted(peers, key=lambda each: -self.trials[each])[:_BEST]
        for runtime in ("onnx", "int8"):
            for peer in best:
                self._add_fastest(way._replace(runtime=runtime) for way in ways_of(peer.engine))

    def _add_fastest(self, ways: Iterable[Contestant]) -> None:
        started = []
        for way in ways:
            try:
                self._try(way)
            except DidNotStart as error:
                self.failed[way] = str(error)
            else:
                started.append(way)
        if started:
            self.contestants.append(max(started, key=lambda way: self.trials[way]))

    def _try(self, contestant: Contestant) -> None:
        self.trials[contestant] = self._turn(contestant, self._look).per_second

    def _look(self, endpoint: Endpoint) -> Cell:
        self.differences[endpoint.contestant] = compare(endpoint, self._prepared)
        requests = [endpoint.request(jpeg) for jpeg in self._prepared.pictures.queries]
        load = Load(endpoint.port, requests, cores=self._generator)
        load.closed(CLIENTS, seconds=self._seconds / 2)
        return load.closed(CLIENTS, seconds=self._seconds)


def compare(endpoint: Endpoint, prepared: Prepared) -> float:
    """The largest difference of a contestant's probabilities from the reference.

    Raises:
        Disagreement: it is more than the tolerance.
    """
    named = f"{endpoint.contestant.engine} ({endpoint.contestant.how})"
    answers = endpoint.ask(prepared.pictures.queries)
    return largest_difference(answers, prepared.expected, named=named, reduced=endpoint.contestant.reduced)
