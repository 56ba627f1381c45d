"""The linear probe: the transfer baseline that trains a fresh linear layer on frozen features."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from meta_core.episode import State, SupportSet
from meta_core.functional import balanced_weights, centred_rows, check_support, linear_logits, linear_state, unit_rows
from meta_core.learner import AdaptOptions, Learner
from meta_core.solvers import logistic_regression


class LinearProbe(Learner):
    """Multinomial logistic regression on features of length 1, with an L2 penalty on the weights, not the intercept.

    That is how Tian et al. 2020 ("Rethinking Few-Shot Image Classification: A Good Embedding Is All You Need?") use a
    network pretrained by plain classification. The problem is convex: its solution, which descent with momentum would
    only approach, depends on no rate, order or first weight, and is computed by `solvers.logistic_regression`. Nothing
    is learned but the backbone.

    Differs from the paper: every class weighs the same, however many examples it has; a penalty of 0.01, scikit-learn's
    C = 100, in place of C = 1, with which 20 examples a class cost up to ten points of accuracy on features of other
    domains.

    Args:
        backbone: (N, *input) → (N, D), trained beforehand.
        penalty: of ½ · penalty · |W|² beside the examples' summed cross-entropy.
        steps: of the solver; these reach probabilities to 0.001 for most tasks.
    """

    rotation_invariant: ClassVar[bool] = True
    steps_to_learn: ClassVar[int] = 30

    def __init__(self, *, backbone: nn.Module, penalty: float = 0.01, steps: int = 40) -> None:
        super().__init__(backbone=backbone)
        self.penalty, self.steps = penalty, steps

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → `weight` (D, C) and `bias` (C,), for features of length 1."""
        self.check_options(options)
        check_support(support)
        weights = balanced_weights(support.targets, support.weights)
        rows, mean = centred_rows(unit_rows(support.inputs), weights)
        penalty = torch.tensor(self.penalty, dtype=rows.dtype, device=rows.device)
        weight, bias = logistic_regression(rows, support.targets.double(), weights, penalty=penalty, steps=self.steps)
        return linear_state(weight, bias - mean @ weight, support.inputs.dtype)

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, D) → (Q, C)."""
        return linear_logits(state, unit_rows(query))


def build(*, backbone: nn.Module, penalty: float = 0.01, steps: int = 40) -> LinearProbe:
    """A linear probe on `backbone`."""
    return LinearProbe(backbone=backbone, penalty=penalty, steps=steps)
