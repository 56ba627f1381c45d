"""What the device's thread does with one turn's slices: encode them together, adapt and predict what is complete."""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from meta_core.batching import adapt_many, predict_many
from meta_core.episode import State, SupportSet
from service.scheduler import Job, Outcome, Slice, Timings

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")
Done = list[tuple[Job, Outcome | Exception]]


def work(slices: Sequence[Slice]) -> Done:
    """Encode slices of one model in one forward; returns the jobs that are over, each with what it came to.

    A batch that raises is done again one by one, so that a bad job fails alone.
    """
    began = time.perf_counter()
    for job, _, _ in slices:
        job.started = job.started or began
    encoded, failed = _together(_encode, slices)
    seconds = time.perf_counter() - began
    for part, features in encoded.items():
        part.job.features.append(features)
        part.job.encode_seconds += seconds
    done: Done = [(part.job, error) for part, error in failed.items()]
    return done + _finish([part.job for part in encoded if part.stop == len(part.job.pictures)])


def _finish(jobs: Sequence[Job]) -> Done:
    """Adapt where a support set came, then predict where queries came; jobs are of one model, wholly encoded."""
    began = time.perf_counter()
    features = {job: torch.cat(job.features) for job in jobs}
    states = {job: job.state for job in jobs if job.state is not None}
    errors: dict[Job, Exception] = {}
    for group in _by_options(jobs):
        adapted, failed = _together(lambda some: _adapt(some, features), group)
        states |= adapted
        errors |= failed
    adapt_seconds = time.perf_counter() - began

    asked = [job for job in jobs if job in states and len(features[job]) > job.shots]
    logits, failed = _together(lambda some: _predict(some, features, states), asked)
    errors |= failed
    predict_seconds = time.perf_counter() - began - adapt_seconds

    done: Done = list(errors.items())
    for job in jobs:
        if job not in errors:
            timings = Timings(job.started - job.submitted, job.encode_seconds, adapt_seconds, predict_seconds)
            support = None if job.targets is None else features[job][: job.shots].cpu()
            state = {name: tensor.cpu() for name, tensor in states[job].items()}
            done.append((job, Outcome(state, support, logits.get(job), timings)))
    return done


def _encode(slices: Sequence[Slice]) -> list[Tensor]:
    pictures = torch.cat([job.pictures[start:stop] for job, start, stop in slices])
    features = slices[0].job.model.encoder.encode(pictures)
    return list(torch.split(features, [stop - start for _, start, stop in slices]))


def _adapt(jobs: Sequence[Job], features: dict[Job, Tensor]) -> list[State]:
    supports = [
        SupportSet(
            inputs=features[job][: job.shots],
            targets=job.targets.to(features[job]),
            weights=features[job].new_ones(job.shots),
        )
        for job in jobs
        if job.targets is not None
    ]
    return adapt_many(jobs[0].model.learner, supports, options=jobs[0].options)


@torch.no_grad()
def _predict(jobs: Sequence[Job], features: dict[Job, Tensor], states: dict[Job, State]) -> list[Tensor]:
    queries = [features[job][job.shots :] for job in jobs]
    near = [
        {name: tensor.to(query.device) for name, tensor in states[job].items()}
        for job, query in zip(jobs, queries, strict=True)
    ]
    return [logits.cpu() for logits in predict_many(jobs[0].model.learner, near, queries)]


def _by_options(jobs: Sequence[Job]) -> list[list[Job]]:
    """Those that adapt, grouped by how."""
    groups: dict[Hashable, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.targets is not None:
            groups[job.options].append(job)
    return list(groups.values())


def _together(
    call: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]
) -> tuple[dict[Item, Result], dict[Item, Exception]]:
    """`call` on all items at once, or one by one where that raises: results and errors by item."""
    if not items:
        return {}, {}
    try:
        return dict(zip(items, call(items), strict=True)), {}
    # Whatever a model or a device raises must reach the one request that caused it, not kill the thread.
    except Exception as error:
        if len(items) == 1:
            return {}, {items[0]: error}
    results: dict[Item, Result] = {}
    errors: dict[Item, Exception] = {}
    for item in items:
        result, error_of = _together(call, [item])
        results |= result
        errors |= error_of
    return results, errors
