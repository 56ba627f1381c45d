"""From a model's logits to what is said of a query: calibrated, and “none of these” where the model's card knows it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from meta_core.answering import Answers, answer
from meta_core.episode import State, SupportSet
from meta_core.learner import AdaptOptions
from meta_core.support_summary import drop, summarize
from service.reporting import left_out
from service.scheduler import Outcome
from service.served import ServedModel

__all__ = ["drop", "judge", "summary_of"]


def summary_of(
    model: ServedModel, features: Tensor, targets: Tensor, options: AdaptOptions, logits: Tensor | None
) -> tuple[Tensor | None, State]:
    """Leave-one-out logits (S, C), and what is kept of a support set so that queries can be judged by it.

    Args:
        model: that encoded and adapted.
        features: (S, …) encoded.
        targets: (S, C).
        options: of adaptation.
        logits: leave-one-out logits, if they are known.

    Returns:
        Nothing of both where the model is not calibrated or adapts its whole network.
    """
    if model.card.calibration is None or not model.learner.encodes:
        return logits, {}
    logits = left_out(model, features, targets, options) if logits is None else logits
    assert logits is not None  # noqa: S101 (the learner encodes)
    return logits, summarize(SupportSet(features, targets, torch.ones(len(features))), logits)


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
