"""Meta-regularized MAML (Yin, Tucker, Zhou, Levine & Finn 2020, "Meta-Learning without Memorization", section 4)."""

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from meta_core.bottleneck import Bottleneck, encode_through, first_spreads
from meta_core.episode import Episode, State, SupportSet
from meta_core.errors import InvalidSupportSet
from meta_core.functional import check_support, outputs_of
from meta_core.inner_loop import Weights, descend, gradient, is_vmapped, support_loss
from meta_core.learner import AdaptOptions, Learner
from meta_core.objectives import Objective, query_loss
from meta_core.rates import InnerRates, RatesKind

WAYS = "ways"
"""Of a state: zeros, as many as the task has classes."""


class MRMAML(Learner):
    """MAML that is made to take from the examples what it could also learn by heart.

    The network is cut in two. Its last layers are adapted as in MAML, from a learned start. The encoder before them is
    the same for every task, which is where tasks could be learned by heart; in meta-training it is put through an
    information bottleneck of its weights or its activations (`meta_core.bottleneck`; Algorithms 1 and 2), and β times
    what gets through is added to the loss, so that a weight or a feature is precise only as far as that pays. Without a
    bottleneck (`none`) it is MAML of the last layers, the reference that differs in nothing else.

    Served, and whenever it is not in training, it encodes by the means.

    Differs from the paper as `meta_core.bottleneck` does; a task of fewer classes than outputs is answered by the first
    of them; every class weighs the same in the inner loss; rates can be learned.

    Args:
        backbone: a sequence of layers, (N, *input) → (N, outputs).
        adapted: how many of the layers that have weights, counted from the last, are adapted.
        bottleneck: of what.
        beta: weight of the KL, nats summed over all weights or features.
        noise: σ that training begins with.
        steps: inner steps; a request may set them, and steps past these take the last one's rates.
        rate: where the inner learning rates start.
        rates: what has an inner learning rate of its own.
        objective: of the inner loop and of meta-training.
    """

    fixed_ways: ClassVar[bool] = True
    network_answers: ClassVar[bool] = True
    steps_to_learn: ClassVar[int] = 60
    limits: ClassVar[dict[str, tuple[float, float]]] = {"steps": (0, 20), "rate": (0.01, 10)}

    def __init__(
        self,
        *,
        backbone: nn.Module,
        adapted: int = 1,
        bottleneck: Bottleneck = "weights",
        beta: float = 1e-6,
        noise: float = 0.01,
        steps: int = 5,
        rate: float = 0.1,
        rates: RatesKind = "layer_step",
        objective: Objective = "cross_entropy",
    ) -> None:
        super().__init__(backbone=backbone)
        self.steps, self.objective, self.beta, self.bottleneck = steps, objective, beta, bottleneck
        self.most_ways = outputs_of(backbone) if objective == "cross_entropy" else None
        self._cut = _cut(self._layers(), adapted)
        self.log_spreads = first_spreads(bottleneck, self.encoder, noise=noise)
        shapes = {name: tuple(weight.shape) for name, weight in self.head.named_parameters()}
        self.rates = InnerRates(shapes, dict.fromkeys(shapes, rate), steps=steps, kind=rates)

    @property
    def encoder(self) -> nn.Sequential:
        """The layers that are the same for every task."""
        return nn.Sequential(*self._layers()[: self._cut])

    @property
    def head(self) -> nn.Sequential:
        """The layers that are adapted."""
        return nn.Sequential(*self._layers()[self._cut :])

    def encode(self, inputs: Tensor) -> Tensor:
        """(N, *input) → (N, *features) by the means; in training the inputs, as a task encodes them by its own draw."""
        features: Tensor = inputs if self.training else self.encoder(inputs)
        return features

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, *features) → the last layers' weights, and `ways` (C,)."""
        self.check_options(options)
        check_support(support, objective=self.objective, most_ways=self.most_ways)
        with torch.no_grad():
            fast = self._adapted(support, options=options, second_order=False)
        return {name: weight.detach().clone() for name, weight in fast.items()} | {WAYS: 0 * support.targets[0]}

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, *features) → (Q, C)."""
        weights = {name: tensor for name, tensor in state.items() if name != WAYS}
        return self._outputs(weights, query, ways=len(state[WAYS]))

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:  # noqa: ARG002
        """The queries' loss after adaptation behind the noise, and β times what got through it, nats."""
        encoded, nats = encode_through(self.bottleneck, self.encoder, self.log_spreads, episode, generator=generator)
        fast = self._adapted(encoded.support, options=AdaptOptions(), second_order=True)
        outputs = self._outputs(fast, encoded.query.inputs, ways=episode.query.targets.shape[1])
        return query_loss(self.objective, outputs, episode.query.targets) + self.beta * nats

    def _adapted(self, support: SupportSet, *, options: AdaptOptions, second_order: bool) -> Weights:
        weights: Weights = dict(self.head.named_parameters())
        for step in range(self.steps if options.steps is None else int(options.steps)):
            loss = partial(self._support_loss, support=support)
            direction = gradient(loss, weights, second_order=second_order, vmapped=is_vmapped(support))
            weights = descend(weights, direction, self.rates.at(step, factor=options.rate or 1.0))
        return weights

    def _support_loss(self, weights: Weights, *, support: SupportSet) -> Tensor:
        outputs = self._outputs(weights, support.inputs, ways=support.targets.shape[1])
        return support_loss(self.objective, outputs, support)

    def _outputs(self, weights: Weights, features: Tensor, *, ways: int) -> Tensor:
        outputs: Tensor = functional_call(self.head, weights, (features,))
        if ways > outputs.shape[1]:
            raise InvalidSupportSet(f"{ways} classes came; this model answers with at most {outputs.shape[1]}")
        return outputs[:, :ways]

    def _layers(self) -> list[nn.Module]:
        return list(self.backbone) if isinstance(self.backbone, nn.Sequential) else [self.backbone]


def build(
    *,
    backbone: nn.Module,
    adapted: int = 1,
    bottleneck: Bottleneck = "weights",
    beta: float = 1e-6,
    noise: float = 0.01,
    steps: int = 5,
    rate: float = 0.1,
    rates: RatesKind = "layer_step",
    objective: Objective = "cross_entropy",
) -> MRMAML:
    """An MR-MAML of the layers of `backbone`."""
    return MRMAML(
        backbone=backbone,
        adapted=adapted,
        bottleneck=bottleneck,
        beta=beta,
        noise=noise,
        steps=steps,
        rate=rate,
        rates=rates,
        objective=objective,
    )


def _cut(layers: list[nn.Module], adapted: int) -> int:
    """Where the layers that are adapted begin: with the `adapted`-th from the last that has weights."""
    weighty = [place for place, layer in enumerate(layers) if next(layer.parameters(), None) is not None]
    return weighty[-min(adapted, len(weighty))] if weighty else 0
