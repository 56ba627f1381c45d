"""From logits to answers: calibrated probabilities and, where the model's card has one, the open-set probability."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from meta_core import open_set, support_summary
from meta_core.calibration import Calibration
from meta_core.episode import State


class Answers(NamedTuple):
    """Of Q queries.

    Attributes:
        probabilities: (Q, C) float64, given that the query is of one of the classes.
        none: (Q,) probability that it is of none of them, before anything is known of how many are; None where the
            model has no such calibration.
        threshold: from which on `none` means none of these, unless a request says otherwise; None where only a request
            decides.
    """

    probabilities: Tensor
    none: Tensor | None = None
    threshold: float | None = None


def answer(
    logits: Tensor, *, calibration: Calibration | None, shots: Sequence[int], state: State, query: Tensor | None
) -> Answers:
    """Logits (Q, C) → answers.

    Args:
        logits: of one task's queries.
        calibration: of the model's card.
        shots: examples of each class.
        state: adapted, with `support_summary.summarize`'s tensors where it is to know strangers.
        query: the queries encoded, (Q, D); None where they are not at hand.
    """
    logits = logits.double()
    if calibration is None:
        return Answers(logits.softmax(-1))
    summarized = support_summary.SCALE in state
    hardness = support_summary.hardness(state) if summarized else None
    temperature = calibration.temperature(shots, hardness=hardness)
    probabilities, fitted = (logits / temperature).softmax(-1), calibration.none_at(shots)
    if fitted is None or query is None or not summarized:
        return Answers(probabilities)
    found = open_set.statistics(state, query, logits, temperature=temperature)
    none = torch.sigmoid(found @ found.new_tensor(fitted.weights) + fitted.bias)
    return Answers(probabilities, none, fitted.threshold if fitted.decides else None)
