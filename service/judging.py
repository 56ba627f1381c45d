"""From a model's logits to what is said of a query: calibrated, and “none of these” where the model's card knows it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from meta_core.answering import Answers, answer
from meta_core.asking import device_of
from meta_core.episode import State, SupportSet
from meta_core.learner import AdaptOptions
from meta_core.leave_one_out import has_classmates, leave_one_out
from meta_core.support_summary import judged, summarize
from service.reporting import Reporter
from service.scheduler import Outcome
from service.served import ServedModel

_FEW = 64
"""Queries times labels: half a millisecond by a calibrated model."""


def summary_of(
    model: ServedModel, features: Tensor, targets: Tensor, options: AdaptOptions, logits: Tensor | None
) -> tuple[Tensor | None, State]:
    """Leave-one-out logits (S, C), and what is kept of a support set so that queries can be judged by it.

    Args:
        model: that encoded and adapted.
        features: (S, …) encoded.
        targets: (S, C).
        options: of adaptation.
        logits: leave-one-out logits as the report takes them, if they are known: as many as time allowed.

    Returns:
        Nothing of both where the model is not calibrated or adapts its whole network.
    """
    if model.card.calibration is None or not model.learner.encodes:
        return logits, {}
    device = device_of(model.learner)
    support = SupportSet(features.to(device), targets.to(device), torch.ones(len(features), device=device))
    if len(judged(support).weights) < len(features):
        summary = summarize(model.learner, support, options=options)
    else:
        if logits is None or bool(logits[has_classmates(support).cpu()].isnan().any()):  # time did not suffice for all
            logits = leave_one_out(model.learner, support, options=options).cpu()
        summary = summarize(model.learner, support, options=options, left_out=logits.to(device))
    return logits, {name: tensor.cpu() for name, tensor in summary.items()}


async def judged_by(
    reporter: Reporter, model: ServedModel, state: State, outcome: Outcome, shots: Sequence[int]
) -> Answers:
    """`judge`, in a thread where it may take long; few queries are judged sooner than they are handed over."""
    if len(outcome.query_features) * len(shots) <= _FEW:
        return judge(model, state, outcome, shots)
    return await reporter.run(judge, model, state, outcome, shots)


def judge(model: ServedModel, state: State, outcome: Outcome, shots: Sequence[int]) -> Answers:
    """What is said of the queries of an outcome.

    Args:
        model: that answered.
        state: of the classifier, with its `summary_of`.
        outcome: with logits.
        shots: examples of each label.
    """
    assert outcome.logits is not None  # noqa: S101 (there were queries)
    return answer(
        outcome.logits,
        calibration=model.card.calibration,
        shots=shots,
        state=state,
        query=outcome.query_features if model.learner.encodes else None,
    )
