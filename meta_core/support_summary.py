"""What is kept of a support set beside the adapted state: how its classes lie, and how hard they are to tell apart."""

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from meta_core.episode import State, SupportSet
from meta_core.functional import class_means, unit_rows
from meta_core.learner import AdaptOptions, Learner
from meta_core.leave_one_out import leave_one_out, score

MEAN, PLAIN, CENTRED, SCALE = "support.mean", "support.plain", "support.centred", "support.scale"
"""Names of the tensors; a learner's own names hold no dot."""

_JUDGED = 100

SCALES = 7
"""Numbers of `support.scale`."""

_TEXTURE = 8.0
"""What the classes' nearness in texture counts for beside that in all features: all textures are near each other. Of 4,
8 and 16 the one with the best likelihood of domains left out of the fit."""


@runtime_checkable
class _Textured(Protocol):
    def texture(self, features: Tensor) -> Tensor | None: ...


def summarize(learner: Learner, support: SupportSet, *, options: AdaptOptions, left_out: Tensor | None = None) -> State:
    """What `open_set.statistics` and `hardness` need of a support set.

    Args:
        learner: that encodes, in `eval` mode.
        support: one task, encoded, without padding: (S, D).
        options: of adaptation.
        left_out: leave-one-out logits of `judged(support)`, if they are known and all there.

    Returns:
        The mean of the class means (D,), and the classes' mean directions (C, D), as they are and seen from that mean,
        of half precision; and seven numbers: the examples' root mean square distance from the mean, how near the
        classes are to each other, mean and standard deviation of the left-out examples' nearness to their class and
        of its logit (NaN where no class has two examples), and how hard the classes are to tell apart (`hardness`).
    """
    some = judged(support)
    if left_out is None:
        left_out = leave_one_out(learner, some, options=options)
    left_out, membership = left_out.double(), some.targets.double()
    features, targets = support.inputs.double(), support.targets.double()
    ones = features.new_ones(len(features))
    mean = class_means(features, targets, ones).mean(0)
    rows, centred = unit_rows(features), unit_rows(features - mean)
    plain = unit_rows(class_means(rows, targets, ones))
    radius = (features - mean).square().sum(-1).mean().sqrt()
    own = (left_out - left_out.mean(-1, keepdim=True)).mul(membership).sum(-1)
    near = _left_out_nearness(centred, targets)
    hard = _lacking(left_out, membership)
    if bool(hard.isnan()):
        hard = _between(plain) + _TEXTURE * _between_textures(learner, features, targets)
    scale = torch.stack([radius, _between(plain), *_spread(near), *_spread(own), hard])
    return {
        MEAN: mean.half(),
        PLAIN: plain.half(),
        CENTRED: unit_rows(class_means(centred, targets, ones)).half(),
        SCALE: scale.float(),
    }


def judged(support: SupportSet) -> SupportSet:
    """The first examples of each class, a hundred in all or two a class: what is left out in turn.

    Not as many as time allows, or answers would depend on how busy the machine is.
    """
    each = max(2, _JUDGED // support.targets.shape[1])
    place = (support.targets.cumsum(0) * support.targets).sum(-1)
    return SupportSet(*(tensor[place <= each] for tensor in support))


def hardness(summary: State) -> float:
    """How hard the classes are to tell apart: what the left-out examples' log-likelihood lacks, in nats.

    Where no class has two examples, how near the classes are to each other, in all features and in texture.
    """
    found = float(summary[SCALE][6])
    return float(summary[SCALE][1]) if math.isnan(found) else found  # summaries of before have no more


def drop(state: State) -> State:
    """What the learner's own `adapt` made."""
    return {name: tensor for name, tensor in state.items() if name not in (MEAN, PLAIN, CENTRED, SCALE)}


def _lacking(left_out: Tensor, targets: Tensor) -> Tensor:
    known = ~left_out.isnan().any(-1)
    if not bool(known.any()):
        return targets.new_tensor(torch.nan)
    return targets.new_tensor(-score(left_out[known], targets[known].argmax(-1)).log_likelihood)


def _left_out_nearness(rows: Tensor, targets: Tensor) -> Tensor:
    """Cosine of each unit row (S, D) to the mean of its classmates; NaN where it has none."""
    classmates = targets @ (targets.T @ rows) - rows
    alone = targets @ targets.sum(0) < 2
    return torch.where(alone, torch.nan, (rows * unit_rows(classmates)).sum(-1))


def _between(centres: Tensor) -> Tensor:
    """How near each class is to the one nearest to it, on average: a query of no class looks like this."""
    cosines = centres @ centres.T - 2 * torch.eye(len(centres), dtype=centres.dtype, device=centres.device)
    return cosines.amax(-1).mean()


def _between_textures(learner: Learner, features: Tensor, targets: Tensor) -> Tensor:
    """0 for a backbone that tells none."""
    texture = learner.backbone.texture(features) if isinstance(learner.backbone, _Textured) else None
    if texture is None:
        return features.new_tensor(0.0)
    return _between(unit_rows(class_means(unit_rows(texture), targets, features.new_ones(len(features)))))


def _spread(values: Tensor) -> tuple[Tensor, Tensor]:
    known = values[~values.isnan()]
    if not len(known):
        return values.new_tensor(torch.nan), values.new_tensor(torch.nan)
    return known.mean(), known.std(correction=0)
