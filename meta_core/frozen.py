"""What people do without this project: a pretrained network's own features, left as they are, under a simple head.

Not registered as learners: they are what models are measured against, on the features that the network was made for.
"""

import torch
from torch import Tensor

from meta_core.backbones.timm import TimmBackbone
from meta_core.episode import State, SupportSet
from meta_core.functional import (
    centred_rows,
    check_support,
    class_means,
    linear_logits,
    linear_state,
    unit_rows,
)
from meta_core.learner import AdaptOptions, Learner
from meta_core.solvers import logistic_regression

_C = 10.0
"""Inverse penalty of the logistic regression, as it is usual for features of length 1 (Tian et al. 2020)."""
_STEPS = 40


class _Frozen(Learner):
    """A head on the pooled features of length 1.

    Args:
        backbone: of timm; of its features the pooled ones of the last stage are taken.
    """

    def __init__(self, *, backbone: TimmBackbone) -> None:
        super().__init__(backbone=backbone)

    def _rows(self, features: Tensor) -> Tensor:
        assert isinstance(self.backbone, TimmBackbone)  # noqa: S101 (as built)
        return unit_rows(self.backbone.pooled(features))

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, D) → (Q, C)."""
        return linear_logits(state, self._rows(query))


class FrozenCentroids(_Frozen):
    """The class whose mean direction is nearest by the cosine."""

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → `weight` (D, C) and `bias` (C,)."""
        self.check_options(options)
        check_support(support)
        means = unit_rows(class_means(self._rows(support.inputs), support.targets, support.weights))
        return linear_state(10 * means.T, means.new_zeros(len(means)), support.inputs.dtype)


class FrozenLogistic(_Frozen):
    """Logistic regression with C = 10, what scikit-learn's finds."""

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → `weight` (D, C) and `bias` (C,)."""
        self.check_options(options)
        check_support(support)
        weights = support.weights.double()
        rows, mean = centred_rows(self._rows(support.inputs), weights)
        penalty = rows.new_tensor(1 / _C)
        weight, bias = logistic_regression(rows, support.targets.double(), weights, penalty=penalty, steps=_STEPS)
        return linear_state(weight, bias - mean @ weight, support.inputs.dtype)


def frozen(backbone: torch.nn.Module) -> dict[str, Learner]:
    """By name, the heads on a pretrained backbone; none where there is nothing pretrained."""
    if not isinstance(backbone, TimmBackbone):
        return {}
    heads = {
        "cosine centroids": FrozenCentroids(backbone=backbone),
        "logistic, C = 10": FrozenLogistic(backbone=backbone),
    }
    return {name: head.eval().requires_grad_(requires_grad=False) for name, head in heads.items()}
