"""Which examples look mislabelled, going by the others."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from meta_core.episode import SupportSet
from meta_core.functional import centred_rows, unit_rows
from meta_core.leave_one_out import has_classmates

TEMPERATURES = (0.1, 3.0)
"""Of a difference of cosines, where their softmax is about the chance that a label is right; of that range the one that
suits the support set. From 0.05 (Caltech, five ways) to 0.15 (Grocery, two shots) suit features of EfficientNet-Lite0;
an encoder that cannot tell these pictures apart gets a higher one, and with it no reason to accuse anybody."""
CLEARLY = 0.8
"""The score from which an example is told: another label is four times likelier.

With one label of ten flipped, five-way ten-shot, that tells 19 of 20 flipped ones of Caltech, 9 of 10 of Grocery,
and 1 to 4 in 1000 of the others; of sets without an error, 4 to 14 in 1000.
"""


@dataclass(frozen=True)
class Suspect:
    """An example that may be mislabelled.

    Attributes:
        example: which one.
        label: that it was given.
        suggested: the likeliest other.
        score: how likely `suggested` is, were it one of these two: 0.5 if no more than `label`, near 1 if much more.
    """

    example: int
    label: int
    suggested: int
    score: float


def suspects(support: SupportSet) -> tuple[Suspect, ...]:
    """Every example whose label has a further one, the most suspect first.

    By the cosine of its features to each label's prototype, its own label's being that of the others; features are made
    of length 1, centred on their mean and made of length 1 again. Of prototypes, nearest neighbours and ridge
    regression, with and without centring and signed square roots, this found most flipped labels on Caltech; it asks
    for no adaptation, so that it is the same whichever learner answers.

    Args:
        support: encoded examples, targets one-hot.
    """
    cosines, labels = leave_one_out_cosines(support), support.targets.argmax(-1)
    own = cosines.gather(1, labels[:, None])
    others = cosines.scatter(1, labels[:, None], -torch.inf)
    best, suggested = others.max(-1)
    judged = torch.nonzero(has_classmates(support)).flatten()
    scores = torch.sigmoid((best - own[:, 0]) / _temperature(cosines[judged], labels[judged]))
    order = judged[torch.argsort(scores[judged], descending=True, stable=True)]
    return tuple(Suspect(int(i), int(labels[i]), int(suggested[i]), float(scores[i])) for i in order)


def _temperature(cosines: Tensor, labels: Tensor) -> float:
    """Which makes the labels likeliest."""
    lowest, highest = TEMPERATURES
    tried = torch.logspace(math.log10(lowest), math.log10(highest), 40, dtype=torch.float64)
    chances = (cosines / tried[:, None, None]).log_softmax(-1)
    likelihoods = chances.gather(2, labels.expand(len(tried), -1)[:, :, None]).sum((1, 2))
    return float(tried[likelihoods.argmax()])


def leave_one_out_cosines(support: SupportSet) -> Tensor:
    """Cosine of each example to each class's mean without it, (S, C), in float64; 0 where nothing is left."""
    weights, targets = support.weights.double(), support.targets.double()
    rows, _ = centred_rows(unit_rows(support.inputs.flatten(1)), weights)
    rows = unit_rows(rows)
    membership = targets * weights[:, None]
    sums = membership.T @ rows
    cosines = rows @ unit_rows(sums).T
    own = targets.argmax(-1)
    without = unit_rows(sums[own] - membership.sum(-1, keepdim=True) * rows)
    return cosines.scatter(1, own[:, None], (rows * without).sum(-1, keepdim=True))
