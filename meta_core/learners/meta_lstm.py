"""The meta-LSTM, "Optimization as a Model for Few-Shot Learning" (Ravi & Larochelle 2017)."""

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from meta_core import heads
from meta_core.episode import Episode, State, SupportSet
from meta_core.functional import check_support
from meta_core.inner_loop import Weights, balanced_cross_entropy, gradient_and_loss, is_vmapped
from meta_core.learned_descent import LearnedDescent
from meta_core.learner import AdaptOptions, Learner
from meta_core.objectives import cross_entropy


class MetaLSTM(Learner):
    """The whole network descends on the support set by a rule that is learned with the start (Algorithm 1).

    As in the paper the gradients and losses that the rule reads are constants to the meta-gradient (3.3); with
    `second_order` they are not, and the meta-gradient is exact. Differs from the paper:

    - Any number of ways: the head's rows start equal (`heads.equal_rows`), where the paper learns a row for each of a
      fixed number of ways; the head's gradient is multiplied by the ways (`heads.per_way`), and it sees features less
      the centre they had before the first step (`heads.centred`).
    - A step takes the whole support set, in which every class weighs the same.
    - Inductive: a backbone that normalizes each example by itself (`norm = "group"`) stands for the paper's batch norm
      with its separate statistics for meta-training and meta-test (3.5).
    - An adapted backbone is kept as its half-precision difference from the start, half the bytes.

    Args:
        backbone: (N, *input) → (N, D).
        steps: of descent; a request may set them.
        hidden: units of the rule's first layer.
        forget: what its forget gate is at first.
        rate: what its input gate is at first; a request may multiply it.
        second_order: whether the meta-gradient goes through the rule's inputs too.
    """

    encodes: ClassVar[bool] = False
    loops_on_cpu = True
    limits: ClassVar[dict[str, tuple[float, float]]] = {"steps": (0, 20), "rate": (0.01, 10)}

    def __init__(
        self,
        *,
        backbone: nn.Module,
        steps: int = 5,
        hidden: int = 20,
        forget: float = 0.999,
        rate: float = 0.1,
        second_order: bool = False,
    ) -> None:
        super().__init__(backbone=backbone)
        self.steps, self.second_order = steps, second_order
        self.descent = LearnedDescent(hidden=hidden, forget=forget, rate=rate)

    def encode(self, inputs: Tensor) -> Tensor:
        """The pictures themselves: nothing of the network is the same for two users."""
        return inputs

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Pictures (S, *input) → the head, and the backbone's differences from its start in half precision."""
        self.check_options(options)
        check_support(support)
        with torch.no_grad():
            fast = self.descend(support, options=options, second_order=False)
            moved = {name: (fast[name] - weight).half() for name, weight in self.backbone.named_parameters()}
        # A clone, because a view would keep all coordinates.
        return moved | {name: fast[name].clone() for name in heads.NAMES}

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Pictures (Q, *input) → (Q, C)."""
        before = dict(self.backbone.named_parameters())
        weights = {name: weight + state[name].to(weight.dtype) for name, weight in before.items()}
        return heads.linear(state, self._features(weights, query))

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:  # noqa: ARG002
        """The queries' cross-entropy after the last step."""
        weights = self.descend(episode.support, options=AdaptOptions(), second_order=self.second_order)
        logits = heads.linear(weights, self._features(weights, episode.query.inputs))
        return cross_entropy(logits, episode.query.targets)

    def descend(self, support: SupportSet, *, options: AdaptOptions, second_order: bool) -> Weights:
        """Backbone and head after the last step; arguments as for `adapt`."""
        start: Weights = dict(self.backbone.named_parameters())
        features, centre = heads.centred(self._features(start, support.inputs), support)
        start |= heads.equal_rows(features, support)
        loss = partial(self._support_loss, support=support, centre=centre)
        now = self.descent.start(_flat(start))
        for _ in range(self.steps if options.steps is None else int(options.steps)):
            slope, height = gradient_and_loss(
                loss, _shaped(now.weights, start), second_order=second_order, vmapped=is_vmapped(support)
            )
            longer = heads.per_way({name: torch.ones(()) for name in slope}, support)
            direction = _flat({name: longer[name] * value for name, value in slope.items()})
            now = self.descent.step(now, direction, height, rate=options.rate or 1.0)
        return heads.uncentred(_shaped(now.weights, start), centre)

    def _support_loss(self, weights: Weights, *, support: SupportSet, centre: Tensor) -> Tensor:
        features = self._features(weights, support.inputs) - centre
        return balanced_cross_entropy(heads.linear(weights, features), support)

    def _features(self, weights: Weights, inputs: Tensor) -> Tensor:
        own = {name: weight for name, weight in weights.items() if name not in heads.NAMES}
        features: Tensor = functional_call(self.backbone, own, (inputs,))
        return features


def build(
    *,
    backbone: nn.Module,
    steps: int = 5,
    hidden: int = 20,
    forget: float = 0.999,
    rate: float = 0.1,
    second_order: bool = False,
) -> MetaLSTM:
    """A meta-LSTM around `backbone`."""
    return MetaLSTM(backbone=backbone, steps=steps, hidden=hidden, forget=forget, rate=rate, second_order=second_order)


def _flat(weights: Weights) -> Tensor:
    """All coordinates in one row, in the weights' order."""
    return torch.cat([weight.flatten() for weight in weights.values()])


def _shaped(coordinates: Tensor, like: Weights) -> Weights:
    """The weights that `_flat` made a row of."""
    pieces = torch.split(coordinates, [weight.numel() for weight in like.values()])
    return {name: piece.view(like[name].shape) for name, piece in zip(like, pieces, strict=True)}
