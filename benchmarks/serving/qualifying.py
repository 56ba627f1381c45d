"""Before anything is timed: do all answer the same, and which of its ways is each peer's fastest?"""

from collections.abc import Callable, Sequence

from benchmarks.serving.contestants import ENGINES, OURS, Contestant, ways_of
from benchmarks.serving.figures import Cell
from benchmarks.serving.loading import Load
from benchmarks.serving.prepare import Prepared
from benchmarks.serving.running import Endpoint
from benchmarks.serving.settings import CLIENTS, TOLERANCE, WAYS

_BEST = 2
"""Peers that are tried again on ONNX Runtime."""

Turn = Callable[[Contestant, Callable[[Endpoint], Cell]], Cell]
"""Starts a contestant, lets it be looked at, and stops it."""


class Disagreement(SystemExit):
    """A contestant computes something else: no time of it would mean anything."""


class Qualified:
    """What the qualification found.

    Attributes:
        contestants: kshot first, each peer by its fastest way, the best peers again on ONNX Runtime.
        differences: largest from the reference probabilities, by contestant.
        trials: requests a second of each way tried.
    """

    def __init__(self) -> None:
        self.contestants: list[Contestant] = []
        self.differences: dict[Contestant, float] = {}
        self.trials: dict[Contestant, float] = {}


def qualify(
    prepared: Prepared, engines: Sequence[str], *, turn: Turn, generator: frozenset[int], seconds: float
) -> Qualified:
    """Compare and choose.

    Args:
        prepared: what is served.
        engines: of `contestants.ENGINES`.
        turn: gives a contestant its turn.
        generator: cores of the load.
        seconds: of a trial.

    Raises:
        Disagreement: somebody answers something else.
    """
    found = Qualified()

    def tried(contestant: Contestant) -> float:
        def look(endpoint: Endpoint) -> Cell:
            found.differences[contestant] = compare(endpoint, prepared)
            requests = [endpoint.request(jpeg) for jpeg in prepared.pictures.queries]
            load = Load(endpoint.port, requests, cores=generator)
            load.closed(CLIENTS, seconds=seconds / 2)
            return load.closed(CLIENTS, seconds=seconds)

        found.trials[contestant] = turn(contestant, look).per_second
        return found.trials[contestant]

    def fastest(ways: Sequence[Contestant]) -> Contestant:
        return max(ways, key=tried)

    tried(Contestant(OURS, "onnx"))
    found.contestants = [Contestant(OURS, "onnx"), *(fastest(list(ways_of(engine))) for engine in engines)]
    peers = sorted(
        (each for each in found.contestants[1:] if ENGINES[each.engine].counts), key=lambda each: -found.trials[each]
    )
    again = [[each._replace(runtime="onnx") for each in ways_of(peer.engine)] for peer in peers[:_BEST]]
    found.contestants += [fastest(ways) for ways in again]
    return found


def compare(endpoint: Endpoint, prepared: Prepared) -> float:
    """The largest difference of a probability from the reference.

    Raises:
        Disagreement: it is more than the tolerance.
    """
    worst, named = 0.0, f"{endpoint.contestant.engine} ({endpoint.contestant.how})"
    answers = endpoint.ask(prepared.pictures.queries)
    for number, (answer, expected) in enumerate(zip(answers, prepared.expected, strict=True)):
        if len(answer) != WAYS:
            raise Disagreement(f"{named} gave {len(answer)} probabilities; expected {WAYS}")
        off = float(abs(expected - answer).max())
        if not off <= TOLERANCE:
            raise Disagreement(
                f"{named}, picture {number}: {answer} came; expected {expected.tolist()} within {TOLERANCE:g}. "
                "Who computes something else cannot be compared: no figures are given."
            )
        worst = max(worst, off)
    return worst
