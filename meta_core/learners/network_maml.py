"""Model-agnostic meta-learning as it was published: the network's own last layer answers (Finn et al. 2017)."""

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from meta_core.episode import Episode, State, SupportSet
from meta_core.errors import InvalidSupportSet
from meta_core.functional import check_support, outputs_of
from meta_core.inner_loop import Weights, descend, gradient, is_vmapped, support_loss
from meta_core.learner import AdaptOptions, Learner
from meta_core.objectives import Objective, query_loss
from meta_core.rates import InnerRates, RatesKind

WAYS = "ways"
"""Of a state: zeros, as many as the task has classes."""


class NetworkMAML(Learner):
    """The whole network, its last layer included, takes a few gradient steps from a meta-learned start.

    The inner step is eq. 1, the meta-gradient that of Algorithm 2, of second order. The last layer's start is learned,
    a row for each output. `maml` has rows that start equal instead, and so takes any number of ways in any order; this
    one is for regression, where outputs are numbers, and to show what fixed rows lead to: where a class has the same
    number in every task of meta-training, the network can learn the numbers by heart and ignore its examples (Yin et
    al. 2020, “memorization”), which rows that start equal cannot.

    Differs from the paper: inner learning rates can be learned (`rates`); a task of fewer classes than the network has
    outputs is answered by the first of them; every class weighs the same in the inner loss.

    Args:
        backbone: (N, *input) → (N, outputs).
        steps: inner steps; a request may set them, and steps past these take the last one's rates.
        rate: where the inner learning rates start.
        rates: what has an inner learning rate of its own.
        objective: of the inner loop and of meta-training.
    """

    encodes: ClassVar[bool] = False
    fixed_ways: ClassVar[bool] = True
    network_answers: ClassVar[bool] = True
    steps_to_learn: ClassVar[int] = 40
    limits: ClassVar[dict[str, tuple[float, float]]] = {"steps": (0, 20), "rate": (0.01, 10)}

    def __init__(
        self,
        *,
        backbone: nn.Module,
        steps: int = 5,
        rate: float = 0.1,
        rates: RatesKind = "layer_step",
        objective: Objective = "cross_entropy",
    ) -> None:
        super().__init__(backbone=backbone)
        self.steps, self.objective = steps, objective
        self.most_ways = outputs_of(backbone) if objective == "cross_entropy" else None
        self.loops_on_cpu = any(isinstance(layer, nn.modules.conv._ConvNd) for layer in backbone.modules())
        shapes = {name: tuple(weight.shape) for name, weight in backbone.named_parameters()}
        self.rates = InnerRates(shapes, dict.fromkeys(shapes, rate), steps=steps, kind=rates)

    def encode(self, inputs: Tensor) -> Tensor:
        """The inputs themselves: nothing of the network is the same for two users."""
        return inputs

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Inputs (S, *input) → the network's weights, and `ways` (C,)."""
        self.check_options(options)
        check_support(support, objective=self.objective, most_ways=self.most_ways)
        with torch.no_grad():
            *_, fast = self.trajectory(support, options=options, second_order=False)
        return {name: weight.detach().clone() for name, weight in fast.items()} | {WAYS: 0 * support.targets[0]}

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Inputs (Q, *input) → (Q, C)."""
        weights = {name: tensor for name, tensor in state.items() if name != WAYS}
        return self._outputs(weights, query, ways=len(state[WAYS]))

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:  # noqa: ARG002
        """The objective over the queries after adaptation (Algorithm 2, line 10)."""
        *_, fast = self.trajectory(episode.support, options=AdaptOptions(), second_order=True)
        outputs = self._outputs(fast, episode.query.inputs, ways=episode.query.targets.shape[1])
        return query_loss(self.objective, outputs, episode.query.targets)

    def trajectory(self, support: SupportSet, *, options: AdaptOptions, second_order: bool) -> list[Weights]:
        """The network's weights before the first step and after each.

        Args:
            support: one task.
            options: as for `adapt`.
            second_order: whether the steps' gradients can themselves be differentiated.

        Raises:
            InvalidSupportSet: more classes than the network has outputs.
        """
        weights: Weights = dict(self.backbone.named_parameters())
        passed = [weights]
        for step in range(self.steps if options.steps is None else int(options.steps)):
            loss = partial(self._support_loss, support=support)
            direction = gradient(loss, weights, second_order=second_order, vmapped=is_vmapped(support))
            weights = descend(weights, direction, self.rates.at(step, factor=options.rate or 1.0))
            passed.append(weights)
        return passed

    def _support_loss(self, weights: Weights, *, support: SupportSet) -> Tensor:
        outputs = self._outputs(weights, support.inputs, ways=support.targets.shape[1])
        return support_loss(self.objective, outputs, support)

    def _outputs(self, weights: Weights, inputs: Tensor, *, ways: int) -> Tensor:
        outputs: Tensor = functional_call(self.backbone, weights, (inputs,))
        if ways > outputs.shape[1]:
            raise InvalidSupportSet(f"{ways} classes came; this model answers with at most {outputs.shape[1]}")
        return outputs[:, :ways]


def build(
    *,
    backbone: nn.Module,
    steps: int = 5,
    rate: float = 0.1,
    rates: RatesKind = "layer_step",
    objective: Objective = "cross_entropy",
) -> NetworkMAML:
    """A MAML of the whole of `backbone`."""
    return NetworkMAML(backbone=backbone, steps=steps, rate=rate, rates=rates, objective=objective)
