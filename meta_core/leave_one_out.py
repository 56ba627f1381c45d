"""Each example of a support set answered by what the learner makes of the others."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from meta_core.batching import adapt_many, predict_many
from meta_core.episode import SupportSet
from meta_core.functional import check_support
from meta_core.learner import AdaptOptions, Learner
from meta_core.parallel import Workers

_STACKED_NUMBERS = 2**22
"""Features of all tasks that are adapted together: 16 MB in float32, and what adaptation makes of them."""


class Score(NamedTuple):
    """How well a learner labels the examples that it was not shown.

    Attributes:
        log_likelihood: of the true label, mean over examples, nats, at the temperature that makes it largest.
        accuracy: share of examples.
    """

    log_likelihood: float
    accuracy: float


@torch.no_grad()
def leave_one_out(
    learner: Learner,
    support: SupportSet,
    *,
    options: AdaptOptions,
    workers: Workers | None = None,
    seconds: float | None = None,
) -> Tensor:
    """Logits (S, C) of each example by a state that was adapted to all others.

    A row is NaN where there is no answer: padding, an example that is the only one of its class, and what `seconds`
    did not suffice for; the classes take turns, so that it suffices for some of each where the learner allows.

    Args:
        learner: in `eval` mode.
        support: one task, encoded, on the learner's device; targets one-hot.
        options: of adaptation.
        workers: as for `adapt_many`.
        seconds: no further examples are begun after so long; all are answered where None.

    Raises:
        InvalidSupportSet: a class has no example.
        ValueError: the learner adapts its whole network, S times over, and no `seconds` bound it.
    """
    check_support(support)
    if not learner.encodes and seconds is None:
        raise ValueError("this learner adapts its whole network for every example left out; say for how many seconds")
    began = time.perf_counter()
    logits = torch.full_like(support.targets, torch.nan, dtype=support.inputs.dtype)
    shortcut = learner.leave_one_out(support, options=options)
    pieces = _one_by_one(learner, support, options, workers) if shortcut is None else shortcut
    for positions, rows in pieces:
        logits[positions] = rows.to(logits.dtype)
        if seconds is not None and time.perf_counter() - began > seconds:
            break
    logits[~has_classmates(support)] = torch.nan
    return logits


def has_classmates(support: SupportSet) -> Tensor:
    """Whether an example's class has a further one, (S,) bool; false for padding."""
    counts = support.weights @ support.targets
    return (support.weights > 0) & (support.targets @ counts > support.weights)


def score(logits: Tensor, labels: Tensor) -> Score:
    """How well logits (N, C) tell the true `labels` (N,).

    Learners differ in how far apart their logits lie, which says nothing of how they order the labels: each is given
    the temperature that suits it. Accuracy alone would leave many of 25 examples' comparisons undecided.
    """
    logits = logits.double() - logits.double().mean(-1, keepdim=True)
    factors = torch.logspace(-3, 3, 121, base=10, dtype=torch.float64, device=logits.device)
    sharpness = factors / logits.std().clamp_min(1e-12)
    chances = (sharpness[:, None, None] * logits).log_softmax(-1)
    likelihoods = chances[:, torch.arange(len(labels), device=labels.device), labels].mean(-1)
    return Score(float(likelihoods.max()), float((logits.argmax(-1) == labels).double().mean()))


def _one_by_one(
    learner: Learner, support: SupportSet, options: AdaptOptions, workers: Workers | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """An adaptation for each, as many stacked as fit; the first of every class, then the second …"""
    positions = torch.nonzero(has_classmates(support)).flatten()
    mates = support.targets[positions]
    turns = (mates.cumsum(0) * mates).sum(-1)
    positions = positions[torch.argsort(turns, stable=True)]
    support = _in_their_span(support) if learner.rotation_invariant else support
    most = max(1, min(64, _STACKED_NUMBERS // max(1, support.inputs.numel())))
    # Pieces double, so that whoever looks at the clock between them overruns little.
    start, together = 0, 1
    while start < len(positions):
        chosen = positions[start : start + together]
        supports = [support._replace(weights=_without(support.weights, int(position))) for position in chosen]
        states = adapt_many(learner, supports, options=options, workers=workers)
        yield chosen, torch.cat(predict_many(learner, states, list(support.inputs[chosen, None]), workers=workers))
        start, together = start + together, min(most, 2 * together)


def _in_their_span(support: SupportSet) -> SupportSet:
    """Features (S, D) in coordinates of the S dimensions that they span, where these are fewer: a tenth of the work."""
    if support.inputs.ndim != 2 or support.inputs.shape[0] >= support.inputs.shape[1]:
        return support
    rows = torch.where(support.weights[:, None] > 0, support.inputs.double(), 0)
    coordinates = torch.linalg.qr(rows.T, mode="r").R.T
    return support._replace(inputs=coordinates.to(support.inputs.dtype))


def _without(weights: Tensor, position: int) -> Tensor:
    left = weights.clone()
    left[position] = 0
    return left
