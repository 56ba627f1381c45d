"""Which model should I use? All of them, on the same episodes of one's own pictures, within a budget of time."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from meta_core.asking import Lookup, evaluation_workers, looking_up, support_of
from meta_core.batching import adapt_many, predict_many
from meta_core.contestants import Contestant, Unfit, fingerprint, gather
from meta_core.datasets import read_pictures
from meta_core.episode import State
from meta_core.errors import MetaCoreError, UnknownName
from meta_core.evaluate import accuracies
from meta_core.learner import AdaptOptions
from meta_core.pictures import Pictures
from meta_core.plan import EpisodePlan, draw, fit_plan
from meta_core.preprocess import InputSpec, normalize
from meta_core.progress import EpisodesBar, episodes_bar
from meta_core.verdict import Result, Row, advise, rank

EPISODES = 200
"""By default: differences of about half a percent show, and learners that encode take a second or two."""

FEWEST = 20
"""Episodes that are asked of everybody, whatever the budget: fewer give no interval worth printing."""

_TASK_BATCH = 10
_ENCODED_AHEAD = 2000
_TIMES, _TIMING_SECONDS = 5, 1.0


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        data: name of the pictures.
        plan: the episodes; `rows` say how many of them each was asked.
        rows: best first.
        results: what the rows were made of, episode by episode.
        unfit: who was to take part and could not.
        notes: what was decided on the way.
        advice: which to use, in a sentence.
    """

    data: str
    plan: EpisodePlan
    rows: list[Row]
    results: list[Result]
    unfit: list[Unfit]
    notes: list[str]
    advice: str


def compare(
    models: Path,
    data: Path,
    *,
    ways: int,
    shots: int,
    queries: int | None = None,
    episodes: int = EPISODES,
    seed: int = 0,
    split: str | None = None,
    only: Sequence[str] = (),
    against: str | None = None,
    default: str | None = None,
    budget_seconds: float = 150,
) -> Comparison:
    """Ask every model of a folder, and the transfer baselines on their encoders, the same episodes; CPU.

    Learners that encode go first. Everybody has an equal share of the time that is left, so that the slow have what the
    fast did not need; who is not done then stops with fewer episodes, the first of the others', at least `FEWEST`.

    Args:
        models: folder of model folders; a damaged one is reported, and so is one that cannot do the task.
        data: labelled pictures that a reader knows; read once for each kind of input.
        ways: classes of an episode.
        shots: examples a class.
        queries: a class; by default what the smallest class allows, at most 15.
        episodes: at most.
        seed: of the episodes.
        split: which part of the data.
        only: names of the models to take.
        against: name of the row that all are held against; the best if not given.
        default: name of the service's default model.
        budget_seconds: for everything; `FEWEST` episodes of very slow learners may take more.

    Raises:
        InvalidDataset: the pictures cannot be read, or are too few.
        InvalidCheckpoint: no model can be loaded.
        UnknownName: a name of `only`, or `against`, is not there.
    """
    ends = time.monotonic() + budget_seconds
    with episodes_bar("comparing") as bar:
        bar.show(0, of=1, note="loading the models")
        contestants, unfit = gather(models, only=only, default=default)
        if against is not None and against not in (names := [each.name for each in contestants]):
            raise UnknownName(f"nobody is called {against!r}; these take part: {', '.join(names)}")
        contestants = sorted(contestants, key=lambda each: not each.learner.encodes)
        bar.show(0, of=len(contestants) * episodes, note="reading the pictures")
        specs = dict.fromkeys(each.spec for each in contestants)
        pictures = {spec: read_pictures(data, spec, split=split) for spec in specs}
        any_pictures = pictures[contestants[0].spec]
        plan, notes = fit_plan(any_pictures, ways=ways, shots=shots, queries=queries, episodes=episodes, seed=seed)
        results, failed = _race(contestants, pictures, plan, ends=ends, bar=bar)
    if any(len(result.accuracies) < episodes for result in results):
        notes.append("who was asked fewer episodes had no time for more: their intervals are wider")
    rows = rank(results, against=against)
    return Comparison(
        data=any_pictures.source,
        plan=plan,
        rows=rows,
        results=results,
        unfit=unfit + failed,
        notes=notes,
        advice=advise(rank(results)),
    )


def _race(
    contestants: Sequence[Contestant],
    pictures: dict[InputSpec, Pictures],
    plan: EpisodePlan,
    *,
    ends: float,
    bar: EpisodesBar,
) -> tuple[list[Result], list[Unfit]]:
    results, failed = list[Result](), list[Unfit]()
    encoders: dict[object, Lookup] = {}
    for position, each in enumerate(contestants):
        now, left = time.monotonic(), len(contestants) - position
        share = max(0.0, ends - now) / left
        done = sum(len(result.accuracies) for result in results)

        def show(
            episodes: int, done: int = done, left: int = left, name: str = each.name, share: float = share
        ) -> None:
            bar.show(done + episodes, of=done + left * plan.episodes, note=f"{name} (≤ {share:.0f} s)")

        show(0)
        own = pictures[each.spec]
        try:
            lookup = _lookup(each, own, encoders)
            if each.learner.encodes:
                lookup(_needed(own, plan))  # beside its share: those who stand on the same encoder need it too
            results.append(_measure(each, lookup, own, plan, until=time.monotonic() + share, show=show))
        except (MetaCoreError, RuntimeError) as error:
            failed.append(Unfit(each.name, each.kind, str(error)))
    return results, failed


def _needed(pictures: Pictures, plan: EpisodePlan) -> Tensor:
    """The pictures that the episodes ask for first."""
    numbers: Tensor = torch.unique(torch.cat([rows.flatten() for rows in draw(pictures, plan)]))
    return numbers[:_ENCODED_AHEAD]


def _lookup(contestant: Contestant, pictures: Pictures, encoders: dict[object, Lookup]) -> Lookup:
    """Of its inputs; learners with the same encoder share what it said."""
    own = looking_up(contestant.learner, pictures.images, contestant.spec)
    return encoders.setdefault(fingerprint(contestant), own) if contestant.learner.encodes else own


def _measure(
    contestant: Contestant,
    lookup: Lookup,
    pictures: Pictures,
    plan: EpisodePlan,
    *,
    until: float,
    show: Callable[[int], None],
) -> Result:
    learner = contestant.learner
    first = next(draw(pictures, replace(plan, episodes=1)))
    adapt_ms, query_ms, state_bytes = _costs(contestant, pictures.images[first], shots=plan.shots)
    found: list[Tensor] = []
    asked = 0
    with evaluation_workers(learner) as workers:
        for some in accuracies(learner, lookup, pictures, plan, workers=workers, batch=_TASK_BATCH):
            found.append(some)
            asked += len(some)
            show(asked)
            if asked >= FEWEST and time.monotonic() > until:
                break
    return Result(
        name=contestant.name,
        kind=contestant.kind,
        shipped=contestant.shipped,
        accuracies=torch.cat(found),
        adapt_ms=adapt_ms,
        query_ms=query_ms,
        state_bytes=state_bytes,
    )


@torch.no_grad()
def _costs(contestant: Contestant, episode: Tensor, *, shots: int) -> tuple[float, float, int]:
    """Milliseconds to adapt to one task and to classify one query, encoding included, and the state's bytes.

    Args:
        contestant: alone on all cores.
        episode: uint8 pictures (C, K + Q', channels, H, W).
        shots: how many of a class are shown.
    """
    learner, ways = contestant.learner, len(episode)
    shown = normalize(episode[:, :shots].flatten(0, 1), contestant.spec)
    asked = normalize(episode[:1, shots], contestant.spec)

    def adapt() -> State:
        support = support_of(learner.encode(shown), ways=ways)
        return adapt_many(learner, [support], options=AdaptOptions())[0]

    state = adapt()  # the first time allocates and chooses kernels
    predict_many(learner, [state], [learner.encode(asked)])
    adapt_ms = _milliseconds(adapt)
    query_ms = _milliseconds(lambda: predict_many(learner, [state], [learner.encode(asked)]))
    return adapt_ms, query_ms, sum(tensor.nbytes for tensor in state.values())


def _milliseconds(call: Callable[[], object]) -> float:
    """The median of some times, fewer where one takes long."""
    times: list[float] = []
    while len(times) < _TIMES and sum(times) < _TIMING_SECONDS:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)
