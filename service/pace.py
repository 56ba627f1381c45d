"""How fast each model is here, as seen so far; hence how much to do in one turn, and what is too long for a turn."""

from collections.abc import MutableMapping, Sequence
from weakref import WeakKeyDictionary

from service.scheduler import Job, Outcome, Slice
from service.served import ServedModel

Means = MutableMapping[ServedModel, float]

_GUESS_SECONDS = 0.001
_SLICE_SECONDS = 0.05
_PICTURES = (16, 1024)
_TURN_SECONDS = 0.25
"""Of a turn whose jobs are taken whole: enough of them for all workers to be busy, few enough to wait for."""
_LONG_SECONDS = 0.5


class Pace:
    """Running means of each model's speed, from a guess on."""

    def __init__(self) -> None:
        # Weak, so that a model that is not served any more is let go of.
        self._per_picture: Means = WeakKeyDictionary()
        self._per_pass: Means = WeakKeyDictionary()

    def budget(self, model: ServedModel) -> int:
        """How much of a model's work goes into one turn: pictures or, where jobs are taken whole, passes."""
        if not model.learner.encodes:
            return max(1, int(_TURN_SECONDS / _of(self._per_pass, model)))
        low, high = _PICTURES
        return min(high, max(low, int(_SLICE_SECONDS / _of(self._per_picture, model))))

    def is_long(self, job: Job) -> bool:
        """Whether others should not wait for a job to be adapted and predicted."""
        return job.model.aside is not None and job.passes * _of(self._per_pass, job.model) > _LONG_SECONDS

    def saw_turn(self, slices: Sequence[Slice], seconds: float) -> None:
        """A turn took so long."""
        pictures = sum(part.stop - part.start for part in slices)
        if pictures:  # none where all examples were encoded before
            _follow(self._per_picture, slices[0].job.model, seconds / pictures)

    def saw_finished(self, done: Sequence[tuple[Job, Outcome | Exception]]) -> None:
        """Jobs of one model were adapted and predicted together: each one's timings are those of all."""
        finished = [result.timings for _, result in done if isinstance(result, Outcome)]
        if finished:
            seconds = max(timings.adapt + timings.predict for timings in finished)
            _follow(self._per_pass, done[0][0].model, seconds / sum(job.passes for job, _ in done))


def _of(means: Means, model: ServedModel) -> float:
    return means.get(model, _GUESS_SECONDS)


def _follow(means: Means, model: ServedModel, seen: float) -> None:
    means[model] = _of(means, model) + 0.2 * (seen - _of(means, model))
