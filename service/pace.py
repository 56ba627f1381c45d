"""How fast each model is here, as seen so far; hence how much to do in one turn, and what is too long for a turn."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from service.scheduler import Job, Outcome, Slice
from service.served import ServedModel

_GUESS_PICTURE_SECONDS = 0.01
_GUESS_PASS_SECONDS = 0.001
_SLICE_SECONDS = 0.05
_PICTURES = (4, 1024)
_TURN_SECONDS = 0.25
"""Of a turn whose jobs are taken whole: enough of them for all workers to be busy, few enough to wait for."""
_LONG_SECONDS = 0.1


class Pace:
    """Running means of each model's speed, from a guess on."""

    def __init__(self) -> None:
        self._per_picture, self._per_pass = _Means(_GUESS_PICTURE_SECONDS), _Means(_GUESS_PASS_SECONDS)

    def budget(self, model: ServedModel) -> int:
        """How much of a model's work goes into one turn: pictures or, where jobs are taken whole, passes."""
        if not model.learner.encodes:
            return max(1, int(_TURN_SECONDS / self._per_pass.of(model)))
        low, high = _PICTURES
        return min(high, max(low, int(_SLICE_SECONDS / self._per_picture.of(model))))

    def is_long(self, job: Job) -> bool:
        """Whether others should not wait for a job to be adapted and predicted."""
        return job.model.aside is not None and job.passes * self._per_pass.of(job.model) > _LONG_SECONDS

    def saw_turn(self, slices: Sequence[Slice], seconds: float) -> None:
        """A turn took so long."""
        pictures = sum(part.stop - part.start for part in slices)
        if pictures:  # none where all examples were encoded before
            self._per_picture.follow(slices[0].job.model, seconds / pictures)

    def saw_finished(self, done: Sequence[tuple[Job, Outcome | Exception]]) -> None:
        """Jobs of one model were adapted and predicted together: each one's timings are those of all."""
        finished = [result.timings for _, result in done if isinstance(result, Outcome)]
        if finished:
            seconds = max(timings.adapt + timings.predict for timings in finished)
            self._per_pass.follow(done[0][0].model, seconds / sum(job.passes for job, _ in done))


class _Means:
    """A running mean of each model, from a guess on."""

    def __init__(self, guess: float) -> None:
        # Weak, so that a model that is not served any more is let go of.
        self._guess, self._seen = guess, WeakKeyDictionary[ServedModel, float]()

    def of(self, model: ServedModel) -> float:
        return self._seen.get(model, self._guess)

    def follow(self, model: ServedModel, seen: float) -> None:
        self._seen[model] = self.of(model) + 0.2 * (seen - self.of(model))
