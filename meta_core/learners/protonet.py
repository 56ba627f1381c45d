"""Prototypical networks (Snell, Swersky & Zemel 2017, "Prototypical Networks for Few-shot Learning")."""

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


def build(*, backbone: nn.Module, scale: float = 1.0) -> ProtoNet:
    """A ProtoNet around `backbone`."""
    return ProtoNet(backbone=backbone, scale=scale)
