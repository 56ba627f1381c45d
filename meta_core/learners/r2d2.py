"""R2-D2, ridge regression as the head (Bertinetto et al. 2019, "Meta-learning with differentiable closed-form
solvers")."""

import math
from collections.abc import Iterator

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

    def leave_one_out(self, support: SupportSet, *, options: AdaptOptions) -> Iterator[tuple[Tensor, Tensor]] | None:
        """One factorization a class, for its examples together; None where examples of one class weigh differently.

        The classes' weights are those that hold once an example of this class has left. With that example in, weighing
        what its classmates do, the fit is ŷ = Hy; without it, it is (ŷᵢ − hᵢᵢyᵢ) / (1 − hᵢᵢ) there, as for any least
        squares with a quadratic penalty (Cook & Weisberg 1982, "Residuals and Influence in Regression", section 2.2).
        """
        self.check_options(options)
        weighty = support.weights[support.weights > 0]
        return self._by_class(support) if bool((weighty == weighty[0]).all()) else None

    def _by_class(self, support: SupportSet) -> Iterator[tuple[Tensor, Tensor]]:
        scale, shift = self.log_scale.double().exp(), self.shift.double()
        for target in support.targets.T:
            members = torch.nonzero(target * support.weights).flatten()
            if len(members) > 1:
                left = support.weights.clone()
                left[members[0]] = 0
                weights = balanced_weights(support.targets, left)
                weights[members[0]] = weights[members[1]]
                yield members, scale * self._without_each(support, weights, members) + shift

    def _without_each(self, support: SupportSet, weights: Tensor, members: Tensor) -> Tensor:
        """What a fit without it regresses each of `members` (P,) to, (P, C)."""
        rows, _ = centred_rows(support.inputs, weights)
        roots, targets = weights.sqrt()[:, None], support.targets.double()
        solve = ridge_solver(roots * rows, self.log_penalty.double().exp())
        fitted = rows[members] @ solve(roots * targets) + weights @ targets / weights.sum()
        alone = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)[:, members]
        leverage = (rows[members] * solve(roots * alone).T).sum(-1) + weights[members] / weights.sum()
        return (fitted - leverage[:, None] * targets[members]) / (1 - leverage)[:, None]


def build(*, backbone: nn.Module, penalty: float = 1.0, scale: float = 10.0) -> R2D2:
    """An R2-D2 around `backbone`."""
    return R2D2(backbone=backbone, penalty=penalty, scale=scale)
