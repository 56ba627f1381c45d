"""R2-D2, ridge regression as the head (Bertinetto et al. 2019, "Meta-learning with differentiable closed-form
solvers")."""

import math

import torch
from torch import Tensor, nn

from meta_core.episode import State, SupportSet
from meta_core.functional import balanced_weights, centred_rows, check_support, linear_logits, linear_state
from meta_core.learner import AdaptOptions, Learner
from meta_core.solvers import ridge_solver


class R2D2(Learner):
    """Ridge regression onto one-hot targets, W = Xᵀ(XXᵀ + λI)⁻¹Y, and α · x'W + β as logits (section 3.2).

    λ, α and β are learned with the backbone, λ and α through their logarithms. β moves all logits alike, which the
    softmax does not see; it is the paper's.

    Differs from the paper: an intercept without penalty, so that a constant in all features changes nothing; every
    class weighs the same (with one shot beside fifty, all answers would else be the second), which with even shots
    changes nothing; of the two equal forms, S × S and D × D, the smaller one is solved.

    Args:
        backbone: (N, *input) → (N, D).
        penalty: where λ starts.
        scale: where α starts; regression onto 0 and 1 alone leaves the softmax undecided.
    """

    def __init__(self, *, backbone: nn.Module, penalty: float = 1.0, scale: float = 10.0) -> None:
        super().__init__(backbone=backbone)
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.shift = nn.Parameter(torch.tensor(0.0))

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → `weight` (D, C) and `bias` (C,), α and β included."""
        self.check_options(options)
        check_support(support)
        weights, targets = balanced_weights(support.targets, support.weights), support.targets.double()
        rows, mean = centred_rows(support.inputs, weights)
        roots = weights.sqrt()[:, None]
        weight = ridge_solver(roots * rows, self.log_penalty.double().exp())(roots * targets)
        intercept = weights @ targets / weights.sum() - mean @ weight
        scale = self.log_scale.double().exp()
        return linear_state(scale * weight, scale * intercept + self.shift, support.inputs.dtype)

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, D) → (Q, C)."""
        return linear_logits(state, query)


def build(*, backbone: nn.Module, penalty: float = 1.0, scale: float = 10.0) -> R2D2:
    """An R2-D2 around `backbone`."""
    return R2D2(backbone=backbone, penalty=penalty, scale=scale)
