"""ANIL, almost no inner loop (Raghu, Raghu, Bengio & Vinyals 2020, "Rapid Learning or Feature Reuse?")."""

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from meta_core import heads
from meta_core.episode import State, SupportSet
from meta_core.functional import check_support, class_means
from meta_core.inner_loop import Weights, balanced_cross_entropy, descend, gradient, is_vmapped
from meta_core.learner import AdaptOptions, Learner
from meta_core.rates import InnerRates, RatesKind

_TINY = 1e-20
"""Where all features are 0."""


class ANIL(Learner):
    """MAML whose inner loop moves the head alone (section 4); the backbone is the same for every user.

    Differs from the paper: any number of ways, since the head's rows start equal (`heads.equal_rows`); the head's
    inner learning rates are learned, one a step, and multiplied by the ways (`heads.per_way`); every class weighs the
    same in the inner loss; the head's steps see features that are centred (`heads.centred`) and divided by their root
    mean square length, so that a rate means the same for all backbones and a step of 2 or less never overshoots.

    Args:
        backbone: (N, *input) → (N, D).
        steps: inner steps; a request may set them, and steps past these take the last one's rate.
        rate: where the inner learning rates start.
        rates: whether each step has one of its own that is learned, or all have `rate` for ever.
    """

    rotation_invariant: ClassVar[bool] = True
    limits: ClassVar[dict[str, tuple[float, float]]] = {"steps": (0, 100), "rate": (0.01, 10)}

    def __init__(
        self, *, backbone: nn.Module, steps: int = 5, rate: float = 1.0, rates: RatesKind = "layer_step"
    ) -> None:
        super().__init__(backbone=backbone)
        self.steps = steps
        self.rates = InnerRates(
            dict.fromkeys(heads.NAMES, ()), dict.fromkeys(heads.NAMES, rate), steps=steps, kind=rates
        )

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → `head.weight` (C, D) and `head.bias` (C,)."""
        self.check_options(options)
        check_support(support)
        features, centre = heads.centred(support.inputs, support)
        shrink = _inverse_length(features, centre, support)
        features = shrink * features
        differentiable = torch.is_grad_enabled()
        head: Weights = heads.equal_rows(features, support)
        for step in range(self.steps if options.steps is None else int(options.steps)):
            direction = gradient(
                partial(_loss, features=features, support=support),
                head,
                second_order=differentiable,
                vmapped=is_vmapped(support),
            )
            rates = self.rates.at(step, factor=options.rate or 1.0)
            head = descend(head, direction, heads.per_way(rates, support))
        return heads.uncentred(head | {heads.WEIGHT: shrink * head[heads.WEIGHT]}, centre)

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, D) → (Q, C)."""
        return heads.linear(state, query)


def build(*, backbone: nn.Module, steps: int = 5, rate: float = 1.0, rates: RatesKind = "layer_step") -> ANIL:
    """An ANIL around `backbone`."""
    return ANIL(backbone=backbone, steps=steps, rate=rate, rates=rates)


def _loss(head: Weights, *, features: Tensor, support: SupportSet) -> Tensor:
    return balanced_cross_entropy(heads.linear(head, features), support)


def _inverse_length(features: Tensor, centre: Tensor, support: SupportSet) -> Tensor:
    """One over the root mean square length of centred features (S, D), every class weighing the same → ()."""
    squares = class_means(features.square().sum(-1, keepdim=True), support.targets, support.weights).mean()
    # What centring leaves of examples that are all the same is rounding, and is not to be scaled up.
    return (squares + 1e-10 * centre.square().sum() + _TINY).rsqrt()
