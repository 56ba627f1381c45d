"""Meta-regularized conditional neural processes (Yin, Tucker, Zhou, Levine & Finn 2020, section 4)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from meta_core.bottleneck import Bottleneck, encode_through, first_spreads
from meta_core.episode import Episode, State, SupportSet
from meta_core.learner import AdaptOptions, Learner
from meta_core.learners.cnp import CNP
from meta_core.objectives import Objective


class MRCNP(Learner):
    """A CNP that is made to take from the examples what it could also learn by heart.

    The backbone, the same for every task, is where tasks could be learned by heart; in meta-training it is put through
    an information bottleneck of its weights or its activations (`meta_core.bottleneck`), and β times what gets through
    is added to the loss. The process behind it is free to use the examples: it is `cnp`, of features. Served, and
    whenever it is not in training, it encodes by the means.

    The cure is for regression. In classification `cnp` takes the classes for interchangeable, so that no label can be
    learned by heart, and noise is a regularizer like others.

    Differs from the paper as `cnp` and `meta_core.bottleneck` do; the decoder reads features and representation by
    multiplying them, where the paper's reads both side by side.

    Args:
        backbone: (N, *input) → (N, features); few features are a bottleneck themselves: the authors' code has 20 behind
            noisy weights and 64 that are noisy.
        features: that the backbone makes.
        width: of the process, as for `cnp`.
        bottleneck: of what.
        beta: weight of the KL, nats summed over all weights or features.
        noise: σ that training begins with.
        objective: of meta-training.
    """

    steps_to_learn: ClassVar[int] = 180

    def __init__(
        self,
        *,
        backbone: nn.Module,
        features: int,
        width: int = 128,
        bottleneck: Bottleneck = "weights",
        beta: float = 1e-6,
        noise: float = 0.01,
        objective: Objective = "cross_entropy",
    ) -> None:
        super().__init__(backbone=backbone)
        self.objective, self.beta, self.bottleneck = objective, beta, bottleneck
        self.log_spreads = first_spreads(bottleneck, backbone, noise=noise)
        self.process = CNP(backbone=nn.Identity(), features=features, width=width, objective=objective)

    def encode(self, inputs: Tensor) -> Tensor:
        """(N, *input) → (N, features) by the means; in training the inputs, as a task encodes them by its own draw."""
        features: Tensor = inputs if self.training else self.backbone(inputs)
        return features

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → `representation` (C, R)."""
        return self.process.adapt(support, options=options)

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, D) → (Q, C)."""
        return self.process.predict(state, query)

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:
        """The queries' loss behind the noise, and β times what got through it, nats."""
        encoded, nats = encode_through(self.bottleneck, self.backbone, self.log_spreads, episode, generator=generator)
        return self.process.meta_loss(encoded, generator=generator, progress=progress) + self.beta * nats


def build(
    *,
    backbone: nn.Module,
    features: int,
    width: int = 128,
    bottleneck: Bottleneck = "weights",
    beta: float = 1e-6,
    noise: float = 0.01,
    objective: Objective = "cross_entropy",
) -> MRCNP:
    """An MR-CNP around `backbone`."""
    return MRCNP(
        backbone=backbone,
        features=features,
        width=width,
        bottleneck=bottleneck,
        beta=beta,
        noise=noise,
        objective=objective,
    )
