"""What the device's thread does with one turn's slices: encode them together, adapt and predict what is complete."""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from meta_core.asking import device_of
from meta_core.batching import adapt_many, predict_many
from meta_core.device import to_device, to_host
from meta_core.episode import State, SupportSet
from meta_core.learner import Learner
from meta_core.parallel import Workers
from service.scheduler import Job, Outcome, Slice, Timings

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")
Done = list[tuple[Job, Outcome | Exception]]


class Hands(NamedTuple):
    """What adapts and predicts: a learner that no other thread uses at that time, and threads to help it.

    `ran_out` is called whenever the device has no memory for a batch.
    """

    learner: Learner
    workers: Workers | None
    ran_out: Callable[[], None]


def work(
    slices: Sequence[Slice], is_long: Callable[[Job], bool], ran_out: Callable[[], None]
) -> tuple[Done, list[Job]]:
    """Encode slices of one model in one forward, and finish the jobs that are then complete.

    A batch that raises is done again one by one, so that a bad job fails alone.

    Args:
        slices: what to encode.
        is_long: whether to leave a complete job to another thread.
        ran_out: is called whenever the device has no memory for a batch.

    Returns:
        The jobs that are over, each with what it came to, and those that are left to be finished.
    """
    began = time.perf_counter()
    model = slices[0].job.model
    hands = Hands(model.learner, model.workers, ran_out)
    encoded, failed = _together(
        lambda some: _encode(some, hands), [part for part in slices if part.stop > part.start], hands
    )
    seconds = time.perf_counter() - began
    for part, features in encoded.items():
        part.job.features.append(features)
        part.job.encode_seconds += seconds
    done: Done = [(part.job, error) for part, error in failed.items()]
    complete = [part.job for part in slices if part not in failed and part.stop == len(part.job.pictures)]
    left = [job for job in complete if is_long(job)]
    return done + _finish([job for job in complete if job not in left], hands), left


def finish_aside(job: Job, ran_out: Callable[[], None]) -> Done:
    """Finish a job that `work` left, in a thread that does nothing else; nothing if nobody waits for it any more."""
    model = job.model
    return [] if job.future.done() else _finish([job], Hands(model.aside or model.learner, None, ran_out))


def _finish(jobs: Sequence[Job], hands: Hands) -> Done:
    """Adapt where a support set came, then predict where queries came; jobs are of one model, wholly encoded."""
    began = time.perf_counter()
    features = {job: _features(job, hands.learner) for job in jobs}
    states = {job: job.state for job in jobs if job.state is not None}
    errors: dict[Job, Exception] = {}
    for group in _by_options(jobs):
        adapted, failed = _together(lambda some: _adapt(some, features, hands), group, hands)
        states |= adapted
        errors |= failed
    adapt_seconds = time.perf_counter() - began

    asked = [job for job in jobs if job in states and job.queries]
    logits, failed = _together(lambda some: _predict(some, features, states, hands), asked, hands)
    errors |= failed
    predict_seconds = time.perf_counter() - began - adapt_seconds

    done: Done = list(errors.items())
    good = [job for job in jobs if job not in errors]
    encoded = dict(zip(good, to_host([features[job] for job in good]), strict=True))
    tensors = iter(to_host([tensor for job in good for tensor in states[job].values()]))
    for job in good:
        queue = began - job.submitted - job.encode_seconds
        timings = Timings(queue, job.encode_seconds, adapt_seconds, predict_seconds)
        support = None if job.targets is None else encoded[job][: job.shots]
        state = {name: _own(next(tensors)) for name in states[job]}
        done.append((job, Outcome(state, support, encoded[job][job.shots :], logits.get(job), timings)))
    return done


def _features(job: Job, learner: Learner) -> Tensor:
    """(S + Q, …): what was encoded before and what was encoded now, in the job's order."""
    kept = [] if job.kept is None else [to_device(job.kept, device_of(learner))]
    features = torch.cat([*kept, *job.features])
    return features if job.order is None else features[to_device(job.order, features.device)]


def _encode(slices: Sequence[Slice], hands: Hands) -> list[Tensor]:
    pictures = torch.cat([job.pictures[start:stop] for job, start, stop in slices])
    features = _in_memory(slices[0].job.model.encoder.encode, pictures, hands)
    return list(torch.split(features, [stop - start for _, start, stop in slices]))


def _in_memory(encode: Callable[[Tensor], Tensor], pictures: Tensor, hands: Hands) -> Tensor:
    """All pictures at once, or in halves where the device has no memory for as many."""
    try:
        return encode(pictures)
    except torch.OutOfMemoryError:
        _free(hands)
        if len(pictures) == 1:
            raise
    return torch.cat([_in_memory(encode, half, hands) for half in pictures.tensor_split(2)])


def _free(hands: Hands) -> None:
    hands.ran_out()
    torch.accelerator.empty_cache()  # what is cached in pieces may do as a whole


def _adapt(jobs: Sequence[Job], features: dict[Job, Tensor], hands: Hands) -> list[State]:
    supports = [
        SupportSet(
            inputs=features[job][: job.shots],
            targets=to_device(job.targets, features[job].device),
            weights=features[job].new_ones(job.shots),
        )
        for job in jobs
        if job.targets is not None
    ]
    return adapt_many(hands.learner, supports, options=jobs[0].options, workers=hands.workers)


@torch.no_grad()
def _predict(jobs: Sequence[Job], features: dict[Job, Tensor], states: dict[Job, State], hands: Hands) -> list[Tensor]:
    queries = [features[job][job.shots :] for job in jobs]
    near = [
        {name: to_device(tensor, query.device) for name, tensor in states[job].items()}
        for job, query in zip(jobs, queries, strict=True)
    ]
    return to_host(predict_many(hands.learner, near, queries, workers=hands.workers))


def _own(tensor: Tensor) -> Tensor:
    """A CPU tensor without what it was made of: it is kept for long."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _by_options(jobs: Sequence[Job]) -> list[list[Job]]:
    """Those that adapt, grouped by how."""
    groups: dict[Hashable, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.targets is not None:
            groups[job.options].append(job)
    return list(groups.values())


def _together(
    call: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], hands: Hands
) -> tuple[dict[Item, Result], dict[Item, Exception]]:
    """`call` on all items at once, or one by one where that raises: results and errors by item."""
    if not items:
        return {}, {}
    try:
        return dict(zip(items, call(items), strict=True)), {}
    # Whatever a model or a device raises must reach the one request that caused it, not kill the thread.
    except Exception as error:
        if isinstance(error, torch.OutOfMemoryError):
            _free(hands)
        if len(items) == 1:
            return {}, {items[0]: error}
    results: dict[Item, Result] = {}
    errors: dict[Item, Exception] = {}
    for item in items:
        result, error_of = _together(call, [item], hands)
        results |= result
        errors |= error_of
    return results, errors
