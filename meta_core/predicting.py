"""A model adapted to one support set and asked about pictures: the service's answers, without the service."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from meta_core.answering import Answers, answer
from meta_core.asking import device_of
from meta_core.batching import adapt_many, predict_many
from meta_core.card import Card
from meta_core.episode import State, SupportSet
from meta_core.learner import AdaptOptions, Learner
from meta_core.support_summary import drop, summarize

Encode: TypeAlias = Callable[[Tensor], Tensor]
"""uint8 (N, channels, H, W) on the CPU → features (N, …) on the learner's device."""


@dataclass(frozen=True)
class Predictor:
    """What answers for one support set.

    Attributes:
        card: of the model.
        learner: in `eval` mode.
        encode: the learner's own, by whatever runs it.
        state: adapted, with `support_summary.summarize`'s tensors where it is to know strangers.
        shots: examples of each of the C labels.
    """

    card: Card
    learner: Learner
    encode: Encode
    state: State
    shots: tuple[int, ...]

    @classmethod
    def adapted(
        cls, card: Card, learner: Learner, encode: Encode, features: Tensor, targets: Tensor, *, options: AdaptOptions
    ) -> "Predictor":
        """Adapt to encoded examples (S, …) with one-hot targets (S, C).

        Raises:
            InvalidSupportSet, InvalidOptions, AdaptationDiverged: what the learner says of them.
        """
        device = device_of(learner)
        support = SupportSet(features.to(device), targets.to(device), torch.ones(len(features), device=device))
        with torch.no_grad():
            (state,) = adapt_many(learner, [support], options=options)
            if card.calibration is not None and learner.encodes:
                state = state | summarize(learner, support, options=options)
        shots = tuple(int(count) for count in targets.sum(0).tolist())
        return cls(card, learner, encode, {name: tensor.cpu() for name, tensor in state.items()}, shots)

    @torch.no_grad()
    def answer(self, pictures: Tensor) -> Answers:
        """Pictures (Q, channels, H, W), uint8; each one's answer is its own, so that they may come in any portions.

        Raises:
            AdaptationDiverged: a logit is not finite.
        """
        query = self.encode(pictures)
        state = {name: tensor.to(query.device) for name, tensor in drop(self.state).items()}
        (logits,) = predict_many(self.learner, [state], [query])
        return answer(
            logits.cpu(),
            calibration=self.card.calibration,
            shots=self.shots,
            state=self.state,
            query=query.cpu() if self.learner.encodes else None,
        )


def one_hot(labels: Sequence[str]) -> tuple[tuple[str, ...], Tensor]:
    """The C labels in the order in which they first occur, and (S, C) targets."""
    names = tuple(dict.fromkeys(labels))
    number = {name: place for place, name in enumerate(names)}
    return names, torch.eye(len(names))[[number[label] for label in labels]]
