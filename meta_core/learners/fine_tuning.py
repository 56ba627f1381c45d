"""Full fine-tuning with the usual practice, for any number of ways: the transfer baseline that moves every weight."""

import math
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from meta_core import heads
from meta_core.episode import Episode, State, SupportSet
from meta_core.functional import check_support, class_means
from meta_core.inner_loop import Weights, balanced_cross_entropy, gradient, is_vmapped
from meta_core.learner import AdaptOptions, Learner
from meta_core.objectives import cross_entropy


class FineTuning(Learner):
    """The last layer is made anew, then block by block the whole network descends on the support set.

    The practice is that of Howard & Ruder 2018 ("Universal Language Model Fine-tuning for Text Classification"):
    *discriminative* rates (3.2), smaller by `decay` with every block further from the head, and *gradual unfreezing*
    (3.3): the head alone, then the last block too, at last all. Momentum in torch's form; weight decay pulls back to
    the pretrained weights, not to 0 (Li, Grandvalet & Davoine 2018, L2-SP, eq. 2), which for the head, whose start is
    0, is the same. A block is a child of the backbone that has parameters; what the backbone holds itself is of the
    lowest.

    Differs from the papers:

    - The head's rows start equal (`heads.equal_rows`), not at random: the same examples give the same classifier.
    - A step takes the whole support set, every class of which weighs the same; unfreezing is spread over steps, not
      epochs.
    - The head's rate is relative to the features' mean squared length, and multiplied by the ways
      (`heads.per_way`), so that one number suits all backbones and tasks.
    - The backbone stays in `eval` mode: batch norm normalizes by the statistics of the pretraining, for a task's
      pictures are too few to estimate them from and a query's answer is to be its own; dropout is off.
    - A tuned backbone is kept as its half-precision difference from the start, half the bytes.

    Args:
        backbone: (N, *input) → (N, D), pretrained; its children in the order in which they compute.
        steps: of descent; a request may set them, and unfreezing stretches with them.
        rate: of the last block.
        head_rate: of the head, relative.
        decay: factor on the rate with every block further down (the paper's is 1 / 2.6).
        unfrozen_by: share of the steps after which the lowest block moves too; above 1 the lowest never move.
        momentum: of each weight from its own first step on.
        pull: of L2-SP.
        clip: the longest that the gradient of the backbone, as one vector, may be: a network tuned until it fits a
            handful of pictures is at the edge of what a rate can do, and one long step throws it over.
    """

    encodes: ClassVar[bool] = False
    loops_on_cpu = True
    limits: ClassVar[dict[str, tuple[float, float]]] = {"steps": (0, 100), "rate": (0.01, 10)}

    def __init__(
        self,
        *,
        backbone: nn.Module,
        steps: int = 15,
        rate: float = 0.05,
        head_rate: float = 1.0,
        decay: float = 1 / 2.6,
        unfrozen_by: float = 0.5,
        momentum: float = 0.8,
        pull: float = 0.01,
        clip: float = 0.5,
    ) -> None:
        super().__init__(backbone=backbone)
        self.steps, self.rate, self.head_rate = steps, rate, head_rate
        self.decay, self.unfrozen_by = decay, unfrozen_by
        self.momentum, self.pull, self.clip = momentum, pull, clip
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As of every module, except that the backbone stays in `eval` mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def encode(self, inputs: Tensor) -> Tensor:
        """The pictures themselves: nothing of the network is the same for two users."""
        return inputs

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Pictures (S, *input) → the head, and the backbone's differences from its start in half precision."""
        self.check_options(options)
        check_support(support)
        with torch.no_grad():
            moved = self.fine_tune(support, options=options)
        return {name: value if name in heads.NAMES else value.half() for name, value in moved.items()}

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Pictures (Q, *input) → (Q, C)."""
        moved = {name: value.to(query.dtype) for name, value in state.items()}
        return self._logits(_sum(self._start(), moved), query)

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:  # noqa: ARG002
        """The queries' cross-entropy after the steps that move the head alone, differentiated through them.

        A good backbone to tune is one on whose features a new head is soon right, which is what ANIL minimizes (Raghu
        et al. 2020), and cheap; the backbone's own steps are not differentiated. Batch norm's statistics stay here too:
        a backbone that has it is pretrained by a learner that encodes, such as ProtoNet, one that normalizes each
        picture by itself can be trained here from scratch.
        """
        until = min(self.first_steps(self.steps).values(), default=self.steps)
        moved = self._descend(self._start(), episode.support, steps=self.steps, until=until, second_order=True)
        return cross_entropy(self._logits(_sum(self._start(), moved), episode.query.inputs), episode.query.targets)

    def fine_tune(self, support: SupportSet, *, options: AdaptOptions) -> Weights:
        """How far the last step leaves the backbone and the head from their start; arguments as for `adapt`.

        The head starts at 0: how far it moved is what it is. Where the backbone is, is never subtracted from where it
        was, or the result would keep the rounding of the whole weight.
        """
        start = {name: weight.detach() for name, weight in self._start().items()}
        steps = self.steps if options.steps is None else int(options.steps)
        return self._descend(start, support, steps=steps, until=steps, factor=options.rate or 1.0)

    def first_steps(self, steps: int) -> dict[str, int]:
        """The step, from 0, at which each of the backbone's weights begins to move; the head moves in all."""
        depths = _depths(self.backbone)
        blocks = 1 + max(depths.values(), default=0)
        share = self.unfrozen_by * steps / blocks
        return {name: max(1, math.ceil((depth + 1) * share)) for name, depth in depths.items()}

    def rates(self) -> dict[str, float]:
        """The learning rate of each of the backbone's weights."""
        return {name: self.rate * self.decay**depth for name, depth in _depths(self.backbone).items()}

    def _descend(
        self,
        start: Weights,
        support: SupportSet,
        *,
        steps: int,
        until: int,
        factor: float = 1.0,
        second_order: bool = False,
    ) -> Weights:
        """Displacements after `until` of so many steps, differentiable with respect to `start` if asked."""
        features = self._features(start, support.inputs)
        head = heads.equal_rows(features, support)
        first = dict.fromkeys(heads.NAMES, 0) | self.first_steps(steps)
        rates = self._head_rates(features, support) | self.rates()
        moved, velocity = head | {name: torch.zeros_like(weight) for name, weight in start.items()}, Weights()
        for step in range(until):
            moving = {name: moved[name] for name in moved if first[name] <= step}
            known = features if moving.keys() == head.keys() else None
            loss = partial(self._loss, start=start, fixed=moved, support=support, known=known)
            slopes = gradient(loss, moving, second_order=second_order, vmapped=is_vmapped(support))
            pulled = _clipped({name: slope + self.pull * moved[name] for name, slope in slopes.items()}, to=self.clip)
            for name, slope in pulled.items():
                velocity[name] = self.momentum * velocity[name] + slope if name in velocity else slope
            moved = moved | {name: moved[name] - factor * rates[name] * velocity[name] for name in moving}
        return moved

    def _head_rates(self, features: Tensor, support: SupportSet) -> dict[str, Tensor | float]:
        """The loss at first curves at most as mean (|x|² + 1) / ways along the head: `head_rate` 1 is the safest."""
        lengths = features.square().sum(-1, keepdim=True)
        squares = 1 + class_means(lengths, support.targets, support.weights).mean()
        return dict(heads.per_way(dict.fromkeys(heads.NAMES, self.head_rate / squares), support))

    def _loss(
        self, moving: Weights, *, start: Weights, fixed: Weights, support: SupportSet, known: Tensor | None
    ) -> Tensor:
        """Of the displacements that change beside those that do not; where features are known, of the head's alone."""
        if known is not None:
            return balanced_cross_entropy(heads.linear(moving, known), support)
        return balanced_cross_entropy(self._logits(_sum(start, fixed | moving), support.inputs), support)

    def _logits(self, weights: Weights, inputs: Tensor) -> Tensor:
        return heads.linear(weights, self._features(weights, inputs))

    def _features(self, weights: Weights, inputs: Tensor) -> Tensor:
        own = {name: weight for name, weight in weights.items() if name not in heads.NAMES}
        features: Tensor = functional_call(self.backbone, own, (inputs,))
        return features

    def _start(self) -> Weights:
        return dict(self.backbone.named_parameters())


def build(
    *,
    backbone: nn.Module,
    steps: int = 15,
    rate: float = 0.05,
    head_rate: float = 1.0,
    decay: float = 1 / 2.6,
    unfrozen_by: float = 0.5,
    momentum: float = 0.8,
    pull: float = 0.01,
    clip: float = 0.5,
) -> FineTuning:
    """Fine-tuning of all of `backbone`."""
    return FineTuning(
        backbone=backbone,
        steps=steps,
        rate=rate,
        head_rate=head_rate,
        decay=decay,
        unfrozen_by=unfrozen_by,
        momentum=momentum,
        pull=pull,
        clip=clip,
    )


def _depths(backbone: nn.Module) -> dict[str, int]:
    """How far from the head each weight's block is: 0 for the last child that has parameters."""
    blocks = [name for name, child in backbone.named_children() if any(True for _ in child.parameters())]
    depth = {name: len(blocks) - 1 - position for position, name in enumerate(blocks)}
    lowest = max(len(blocks) - 1, 0)
    return {name: depth.get(name.partition(".")[0], lowest) for name, _ in backbone.named_parameters()}


def _clipped(slopes: Weights, *, to: float) -> Weights:
    """The head's slopes, and the backbone's at most so long, as `torch.nn.utils.clip_grad_norm_` has it."""
    squares = [slope.square().sum() for name, slope in slopes.items() if name not in heads.NAMES]
    if not squares:
        return slopes
    factor = (to / (torch.stack(squares).sum().sqrt() + 1e-6)).clamp_max(1)
    return {name: slope if name in heads.NAMES else factor * slope for name, slope in slopes.items()}


def _sum(start: Weights, moved: Weights) -> Weights:
    """Where the backbone is, and the head."""
    return {name: start[name] + value if name in start else value for name, value in moved.items()}
