"""Baseline++, the cosine classifier (Chen et al. 2019, "A Closer Look at Few-shot Classification")."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from meta_core.episode import State, SupportSet
from meta_core.functional import balanced_weights, check_support, linear_logits, linear_state, unit_rows
from meta_core.learner import AdaptOptions, Learner


class CosineClassifier(Learner):
    """A logit is τ · cos(x, w_c); the class's weight vector w_c descends on the support set.

    Differs from the paper: w_c starts as the mean of the class's features of length 1 (Qi et al. 2018, "Low-Shot
    Learning with Imprinted Weights"), not at random, so that no steps make nearest means and the same examples the same
    classifier; a step takes the whole support set, each class weighing the same, and moves w_c on the sphere, where the
    paper's weights have a length that the cosine does not see; no weight decay, which would act on that length alone;
    τ is learned with the backbone, through its logarithm. Momentum is the paper's.

    Args:
        backbone: (N, *input) → (N, D).
        scale: where τ starts.
        steps: of descent; a request may set them.
        rate: length of a step, in units of 1/τ of what its class's gradient is with respect to the cosines, so that it
            means the same for all τ and ways; a request may multiply it.
        momentum: of the descent.
    """

    rotation_invariant: ClassVar[bool] = True
    steps_to_learn: ClassVar[int] = 30
    limits: ClassVar[dict[str, tuple[float, float]]] = {"steps": (0, 200), "rate": (0.01, 4)}

    def __init__(
        self, *, backbone: nn.Module, scale: float = 10.0, steps: int = 50, rate: float = 1.0, momentum: float = 0.9
    ) -> None:
        super().__init__(backbone=backbone)
        self.steps, self.rate, self.momentum = steps, rate, momentum
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → `weight` (D, C), τ included, and a `bias` (C,) of 0."""
        self.check_options(options)
        check_support(support)
        steps = self.steps if options.steps is None else int(options.steps)
        rate = self.rate * (1.0 if options.rate is None else options.rate)
        targets, scale = support.targets.double(), self.log_scale.double().exp()
        rows = unit_rows(torch.where(support.weights[:, None] > 0, support.inputs, 0))
        # The shares of a class's examples are 1 in total.
        shares = balanced_weights(targets, support.weights)[:, None] * targets.shape[1] / support.weights.sum()
        weight = unit_rows((shares * targets).T @ rows)
        velocity = torch.zeros_like(weight)
        for _ in range(steps):
            slope = (shares * ((scale * rows @ weight.T).softmax(-1) - targets)).T @ rows
            along_sphere = slope - (slope * weight).sum(-1, keepdim=True) * weight
            velocity = self.momentum * velocity + along_sphere
            weight = unit_rows(weight - rate / scale * velocity)
        return linear_state(scale * weight.T, torch.zeros_like(weight[:, 0]), support.inputs.dtype)

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, D) → (Q, C)."""
        return linear_logits(state, unit_rows(query))


def build(
    *, backbone: nn.Module, scale: float = 10.0, steps: int = 50, rate: float = 1.0, momentum: float = 0.9
) -> CosineClassifier:
    """A cosine classifier on `backbone`."""
    return CosineClassifier(backbone=backbone, scale=scale, steps=steps, rate=rate, momentum=momentum)
