"""Model-agnostic meta-learning (Finn, Abbeel & Levine 2017), second order, for any number of ways."""

from functools import partial
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from meta_core import heads
from meta_core.episode import Episode, State, SupportSet
from meta_core.functional import check_support
from meta_core.inner_loop import Weights, balanced_cross_entropy, descend, gradient, is_vmapped
from meta_core.learner import AdaptOptions, Learner
from meta_core.objectives import cross_entropy
from meta_core.rates import InnerRates, RatesKind


class MAML(Learner):
    """The whole network takes a few gradient steps on the support set from a meta-learned start (eq. 1).

    The meta-gradient goes through those steps (Algorithm 2, line 10), or, while training's progress is below
    `first_order_until`, past them: 1 is FOMAML, less is the annealing of MAML++ (Antoniou et al. 2019, 4.3).

    Differs from the paper:

    - Any number of ways: the head's rows start equal (`heads.equal_rows`) or from prototypes (`heads.prototype_rows`),
      where the paper learns a row for each of a fixed number of ways.
    - With equal rows the first step moves the head alone: the gradient of everything below is Σ_c (p_c − y_c) w with
      the rows' common w, thus exactly 0, and so is its derivative.
    - Inductive: the paper normalizes by the statistics of whatever batch comes, the queries' included; a backbone that
      normalizes each example by itself (`norm = "group"`) lets a query's answer be its own.
    - Inner learning rates are learned (`rates`), the head's are multiplied by the ways (`heads.per_way`), the head
      sees features less the centre they had before the first step (`heads.centred`), and every class weighs the same
      in the inner loss.
    - An adapted backbone is kept as its half-precision difference from the start, half the bytes: the difference is
      a fraction of the weight, so that its rounding is smaller still.

    Args:
        backbone: (N, *input) → (N, D).
        steps: inner steps; a request may set them, and steps past these take the last one's rates.
        rate: where the backbone's inner learning rates start.
        head_rate: where the head's start.
        rates: what has an inner learning rate of its own.
        start: where the head's rows start.
        scale: of the squared distance that prototypes start from.
        first_order_until: share of training in which the meta-gradient is of first order.
        multi_step_until: share of training in which the queries' loss after earlier steps counts too, less and less
            (MAML++ 4.1).
        frozen_norms: batch norms use their running statistics in training too, as a trained backbone's must.
    """

    encodes: ClassVar[bool] = False
    loops_on_cpu = True
    steps_to_learn: ClassVar[int] = 50
    limits: ClassVar[dict[str, tuple[float, float]]] = {"steps": (0, 20), "rate": (0.01, 10)}

    def __init__(
        self,
        *,
        backbone: nn.Module,
        steps: int = 5,
        rate: float = 0.1,
        head_rate: float = 0.1,
        rates: RatesKind = "layer_step",
        start: Literal["equal", "prototypes"] = "equal",
        scale: float = 1.0,
        first_order_until: float = 0.0,
        multi_step_until: float = 0.0,
        frozen_norms: bool = False,
    ) -> None:
        super().__init__(backbone=backbone)
        self.steps, self.start, self.scale = steps, start, scale
        self.frozen_norms = frozen_norms
        self.first_order_until, self.multi_step_until = first_order_until, multi_step_until
        shapes = {name: tuple(weight.shape) for name, weight in backbone.named_parameters()}
        initial = dict.fromkeys(shapes, rate) | dict.fromkeys(heads.NAMES, head_rate)
        # A head's rate is one number: its shape comes with the task.
        self.rates = InnerRates(shapes | dict.fromkeys(heads.NAMES, ()), initial, steps=steps, kind=rates)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts but frozen norms."""
        super().train(mode)
        if self.frozen_norms:
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def encode(self, inputs: Tensor) -> Tensor:
        """The pictures themselves: nothing of the network is the same for two users."""
        return inputs

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Pictures (S, *input) → the head, and the backbone's differences from its start in half precision."""
        self.check_options(options)
        check_support(support)
        with torch.no_grad():
            *_, fast = self.trajectory(support, options=options, second_order=False)
            before = dict(self.backbone.named_parameters())
            moved = {name: (fast[name] - before[name]).half() for name in before}
        return moved | {name: fast[name] for name in heads.NAMES}

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Pictures (Q, *input) → (Q, C)."""
        before = dict(self.backbone.named_parameters())
        weights = {name: weight + state[name].to(weight.dtype) for name, weight in before.items()}
        return heads.linear(state, self._features(weights, query))

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:  # noqa: ARG002
        """The queries' cross-entropy after adaptation (Algorithm 2), or after every step while MAML++'s devices say."""
        second_order = self.first_order_until < 1 and progress >= self.first_order_until
        steps = self.trajectory(episode.support, options=AdaptOptions(), second_order=second_order)
        shares = self._step_shares(progress)
        losses = [
            share * cross_entropy(self._logits(weights, episode.query.inputs), episode.query.targets)
            for share, weights in zip(shares, steps, strict=True)
            if share
        ]
        return torch.stack(losses).sum()

    def trajectory(self, support: SupportSet, *, options: AdaptOptions, second_order: bool) -> list[Weights]:
        """Backbone and head before the first step and after each.

        Args:
            support: one task.
            options: as for `adapt`.
            second_order: whether the steps' gradients can themselves be differentiated.
        """
        vmapped, factor = is_vmapped(support), options.rate or 1.0
        weights: Weights = dict(self.backbone.named_parameters())
        features, centre = heads.centred(self._features(weights, support.inputs), support)
        weights |= self._head(features, support)
        passed = [weights]
        for step in range(self.steps if options.steps is None else int(options.steps)):
            known = features if step == 0 and self.start == "equal" else None
            moving = {name: weights[name] for name in (weights if known is None else heads.NAMES)}
            loss = partial(self._support_loss, support=support, centre=centre, known=known)
            direction = gradient(loss, moving, second_order=second_order, vmapped=vmapped)
            weights = descend(weights, direction, heads.per_way(self.rates.at(step, factor=factor), support))
            passed.append(weights)
        return [heads.uncentred(weights, centre) for weights in passed]

    def _head(self, features: Tensor, support: SupportSet) -> Weights:
        if self.start == "equal":
            return heads.equal_rows(features, support)
        return heads.prototype_rows(features, support, scale=self.scale)

    def _support_loss(self, weights: Weights, *, support: SupportSet, centre: Tensor, known: Tensor | None) -> Tensor:
        """Of the whole network's weights, or, where the centred features are known already, of the head's alone."""
        features = self._features(weights, support.inputs) - centre if known is None else known
        return balanced_cross_entropy(heads.linear(weights, features), support)

    def _step_shares(self, progress: float) -> list[float]:
        """How much the queries' loss counts before the first step and after each; together 1."""
        early = max(0.0, 1 - progress / self.multi_step_until) / self.steps if self.multi_step_until else 0.0
        return [0.0, *[early] * (self.steps - 1), 1 - early * (self.steps - 1)]

    def _logits(self, weights: Weights, inputs: Tensor) -> Tensor:
        return heads.linear(weights, self._features(weights, inputs))

    def _features(self, weights: Weights, inputs: Tensor) -> Tensor:
        own = {name: weight for name, weight in weights.items() if name not in heads.NAMES}
        features: Tensor = functional_call(self.backbone, own, (inputs,))
        return features


def build(
    *,
    backbone: nn.Module,
    steps: int = 5,
    rate: float = 0.1,
    head_rate: float = 0.1,
    rates: RatesKind = "layer_step",
    start: Literal["equal", "prototypes"] = "equal",
    scale: float = 1.0,
    first_order_until: float = 0.0,
    multi_step_until: float = 0.0,
    frozen_norms: bool = False,
) -> MAML:
    """A MAML around `backbone`."""
    return MAML(
        backbone=backbone,
        steps=steps,
        rate=rate,
        head_rate=head_rate,
        rates=rates,
        start=start,
        scale=scale,
        first_order_until=first_order_until,
        multi_step_until=multi_step_until,
        frozen_norms=frozen_norms,
    )
