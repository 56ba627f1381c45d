"""Prototypical networks (Snell, Swersky & Zemel 2017, "Prototypical Networks for Few-shot Learning")."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from meta_core.episode import State, SupportSet
from meta_core.functional import check_support, class_means, squared_distances
from meta_core.learner import AdaptOptions, Learner


class ProtoNet(Learner):
    """Each class is the mean of its encoded examples (eq. 1); a query's logits are minus its squared distances (eq. 2).

    Differs from the paper: the distance is multiplied by a constant `scale` (1 there), which sets the initial
    temperature for backbones whose features are many; squared, not plain, distance as in the paper.

    Args:
        backbone: (N, *input) → (N, D).
        scale: factor on the squared distance.
    """

    def __init__(self, *, backbone: nn.Module, scale: float = 1.0) -> None:
        super().__init__(backbone=backbone)
        self.scale = scale

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → `prototypes` (C, D)."""
        self.check_options(options)
        check_support(support)
        return {"prototypes": class_means(support.inputs, support.targets, support.weights)}

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, D) → minus the scaled squared distance to each prototype, (Q, C)."""
        return -self.scale * squared_distances(query, state["prototypes"])

    def leave_one_out(self, support: SupportSet, *, options: AdaptOptions) -> Iterator[tuple[Tensor, Tensor]]:
        """All at once: leaving an example out moves its own class's mean alone, from m to (n · m − x) / (n − 1)."""
        state = self.adapt(support, options=options)
        membership = (support.targets * support.weights[:, None]).double()
        sums, counts = membership.T @ support.inputs.double(), membership.sum(0)
        own = support.targets.argmax(-1)
        weights = support.weights.double()[:, None]
        without = (sums[own] - weights * support.inputs.double()) / (counts[own][:, None] - weights)
        moved = support.inputs.double() - without.to(support.inputs.dtype)
        logits, positions = self.predict(state, support.inputs), torch.arange(len(own), device=own.device)
        logits[positions, own] = -self.scale * moved.square().sum(-1).to(logits.dtype)
        yield positions, logits


def build(*, backbone: nn.Module, scale: float = 1.0) -> ProtoNet:
    """A ProtoNet around `backbone`."""
    return ProtoNet(backbone=backbone, scale=scale)
