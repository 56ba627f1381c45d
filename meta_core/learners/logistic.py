"""Logistic regression as the head, after LR-D2 (Bertinetto et al. 2019, "Meta-learning with differentiable closed-form
solvers")."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from meta_core.episode import State, SupportSet
from meta_core.functional import (
    balanced_weights,
    centred_rows,
    check_support,
    inverse_length,
    linear_logits,
    linear_state,
)
from meta_core.learner import AdaptOptions, Learner
from meta_core.solvers import logistic_regression

_ROUNDING = 1e-10
"""Of the mean's squared length: what an encoder's rounding tells apart of equal pictures must not be scaled up."""


class Logistic(Learner):
    """Multinomial logistic regression with an L2 penalty, through whose solution meta-training differentiates.

    The penalty λ and a factor α on the logits are learned with the backbone, through their logarithms. A factor on the
    features would be λ in other units; they are centred and divided by the support set's root mean square length
    instead, so that λ means the same for all backbones.

    Differs from the paper (section 3.3): multinomial, for any number of ways, where LR-D2 tells two classes apart. Its
    iteratively reweighted least squares solve an S × S system for every class and step; these steps share one, and
    never ascend (`solvers.logistic_regression`, which also says why the gradient is not the steps' own). An intercept
    without penalty; every class weighs the same, however many examples it has.

    Args:
        backbone: (N, *input) → (N, D).
        penalty: where λ starts.
        scale: where α starts.
        steps: Newton steps towards the solution; a request may set them.
    """

    rotation_invariant: ClassVar[bool] = True
    steps_to_learn: ClassVar[int] = 25
    limits: ClassVar[dict[str, tuple[float, float]]] = {"steps": (1, 100)}

    def __init__(self, *, backbone: nn.Module, penalty: float = 0.3, scale: float = 1.0, steps: int = 15) -> None:
        super().__init__(backbone=backbone)
        self.steps = steps
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → `weight` (D, C) and `bias` (C,), α included."""
        self.check_options(options)
        check_support(support)
        steps = self.steps if options.steps is None else int(options.steps)
        weights = balanced_weights(support.targets, support.weights)
        rows, mean = centred_rows(support.inputs, weights)
        squares = weights @ rows.square().sum(-1) / weights.sum() + _ROUNDING * mean.square().sum()
        shrink, scale = inverse_length(squares), self.log_scale.double().exp()
        weight, bias = logistic_regression(
            shrink * rows, support.targets.double(), weights, penalty=self.log_penalty.double().exp(), steps=steps
        )
        weight = scale * shrink * weight
        return linear_state(weight, scale * bias - mean @ weight, support.inputs.dtype)

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, D) → (Q, C)."""
        return linear_logits(state, query)


def build(*, backbone: nn.Module, penalty: float = 0.3, scale: float = 1.0, steps: int = 15) -> Logistic:
    """A logistic regression head around `backbone`."""
    return Logistic(backbone=backbone, penalty=penalty, scale=scale, steps=steps)
