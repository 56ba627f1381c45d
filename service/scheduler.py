"""Whose pictures are encoded next: small steps, so that nobody waits behind a big job."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from meta_core.episode import State
from meta_core.learner import AdaptOptions
from service.served import ServedModel


class Timings(NamedTuple):
    """Seconds of one job."""

    queue: float
    encode: float
    adapt: float
    predict: float


class Outcome(NamedTuple):
    """What a job came to, on the CPU.

    Attributes:
        state: adapted, or the one that came.
        support_features: (S, …) encoded examples; None where the state came.
        query_features: (Q, …) the encoded rest.
        logits: (Q, C); None where there was no query.
        timings: where the time went.
    """

    state: State
    support_features: Tensor | None
    query_features: Tensor
    logits: Tensor | None
    timings: Timings


@dataclass(eq=False)
class Job:
    """One request's work: encode its pictures; adapt to the first of them, if `targets` are given; predict the rest.

    Examples that were encoded before stand in front of the pictures and are adapted to with them.

    Attributes:
        model: which one.
        pictures: (N, channels, H, W) uint8, the support set's first.
        targets: (S, C) one-hot of the first S, kept ones included, or None where `state` is given.
        state: what was adapted before, or None.
        options: of adaptation.
        kept: (K, *features) examples that were encoded before, in front of the pictures; none of them if None.
        order: where each example and query is found among the kept and the new; as they come if None.
        future: is given the outcome, or the error of this job alone.
    """

    model: ServedModel
    pictures: Tensor
    targets: Tensor | None
    state: State | None
    options: AdaptOptions
    future: asyncio.Future[Outcome]
    kept: Tensor | None = None
    order: Tensor | None = None
    submitted: float = field(default_factory=time.perf_counter)
    taken: int = 0
    features: list[Tensor] = field(default_factory=list)
    encode_seconds: float = 0.0

    @property
    def waiting(self) -> int:
        """Pictures not yet taken for encoding."""
        return len(self.pictures) - self.taken

    @property
    def shots(self) -> int:
        """Examples to adapt to."""
        return 0 if self.targets is None else len(self.targets)

    @property
    def queries(self) -> int:
        """Pictures to predict."""
        return len(self.pictures) + (0 if self.kept is None else len(self.kept)) - self.shots

    @property
    def passes(self) -> int:
        """How often adapting and predicting go over a picture: what they cost, in no particular unit."""
        return self.shots * max(1, self.model.steps(self.options)) + self.queries

    @property
    def whole(self) -> bool:
        """Whether its pictures are taken all at once: nothing encodes them, so that slices would save nobody a wait."""
        return not self.model.learner.encodes


class Slice(NamedTuple):
    """Pictures `start` to `stop` of a job."""

    job: Job
    start: int
    stop: int


_QUANTUM = 64
"""Pictures that one job gets before the next has its turn."""


class Scheduler:
    """Jobs in line. Classifying goes before creating, but every fourth turn begins with the creations."""

    def __init__(self) -> None:
        self._classify: deque[Job] = deque()
        self._create: deque[Job] = deque()
        self._turn = 0

    def add(self, job: Job) -> None:
        """Put a job in line."""
        (self._classify if job.targets is None else self._create).append(job)

    def __len__(self) -> int:
        return len(self._classify) + len(self._create)

    def drain(self) -> list[Job]:
        """Take all jobs out."""
        jobs = [*self._classify, *self._create]
        self._classify.clear()
        self._create.clear()
        return jobs

    def next(self, budget: Callable[[ServedModel], int]) -> list[Slice]:
        """What to encode next, pictures of one model; empty when nothing waits.

        A job whose pictures are all taken leaves the line; the others that were served go to its end.

        Args:
            budget: pictures of a model that may be encoded in one go; where jobs are taken whole, passes.
        """
        self._turn = (self._turn + 1) % 4
        lines = (self._create, self._classify) if self._turn == 0 else (self._classify, self._create)
        taken: list[Slice] = []
        model, left = None, 0
        for line in lines:
            if taken and line is self._create:  # small calls do not wait for a large one's pictures beside theirs
                break
            passed: list[Job] = []
            served: list[Job] = []
            while line:
                job = line.popleft()
                if job.future.done():  # its client has left, or its time is up
                    continue
                if model is None:
                    model, left = job.model, budget(job.model)
                if job.model is not model or left <= 0:
                    passed.append(job)
                    continue
                count = job.waiting if job.whole else min(_QUANTUM, left, job.waiting)
                taken.append(Slice(job, job.taken, job.taken + count))
                job.taken += count
                left -= job.passes if job.whole else count
                if job.waiting:
                    served.append(job)
            line.extend(passed + served)
        return taken
