"""SNAIL, a simple neural attentive meta-learner (Mishra, Rohaninejad, Chen & Abbeel 2018)."""

from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from meta_core import label_codes
from meta_core.episode import Episode, State, SupportSet, batch_of_one
from meta_core.functional import check_support
from meta_core.learner import AdaptOptions, Learner
from meta_core.objectives import cross_entropy
from meta_core.temporal import Attention, CausalConvolution, convolutions

_EMBEDDED = 64
"""Numbers of a picture in the sequence, as in the paper's appendix."""


class SNAIL(Learner):
    """Temporal convolutions and attention, in turns, read the labelled examples and then the query (section 3).

    Differs from the paper:

    - Any number of ways up to `most_ways`: labels and outputs are places in a fixed number (`label_codes`), where the
      paper trains a network for each number of ways.
    - A query is asked right after the examples, and the examples' rows are computed once for all queries.

    Args:
        backbone: (N, *input) → (N, features).
        features: that the backbone makes.
        most_ways: labels it can tell apart.
        length: of the sequences that the convolutions see whole; the attention sees any.
        filters: of a convolution; keys and values are multiples and fractions of it, with which the paper has 128.
    """

    order_matters: ClassVar[bool] = True
    steps_to_learn: ClassVar[int] = 280

    def __init__(
        self, *, backbone: nn.Module, features: int, most_ways: int = 20, length: int = 26, filters: int = 32
    ) -> None:
        super().__init__(backbone=backbone)
        self.most_ways = self.places = most_ways
        self.embed = nn.Linear(features, _EMBEDDED)
        blocks: list[Attention | CausalConvolution] = [
            Attention(_EMBEDDED + most_ways, keys=filters // 2, values=filters // 4)
        ]
        for factor in (1, 2):
            blocks += convolutions(blocks[-1].outputs, filters=filters, length=length)
            blocks.append(Attention(blocks[-1].outputs, keys=2 * factor * filters, values=factor * filters))
        self.blocks = nn.ModuleList(blocks)
        self.answer = nn.Linear(blocks[-1].outputs, most_ways)

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → what the blocks keep of the sequence, and the classes' `places` (C,)."""
        self.check_options(options)
        check_support(support, most_ways=self.most_ways)
        kept = label_codes.without_padding(support)
        return self._show(kept, label_codes.by_appearance(kept.targets))

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, D) → (Q, C)."""
        rows = torch.cat([self.embed(query), query.new_zeros(len(query), self.places)], dim=-1)
        for number, block in enumerate(self._blocks()):
            own = f"{number}."
            rows = block.ask({name.removeprefix(own): t for name, t in state.items() if name.startswith(own)}, rows)
        logits: Tensor = self.answer(rows)
        return logits.index_select(1, state["places"])

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:
        """Of one task, as `meta_losses`."""
        return self.meta_losses(batch_of_one(episode), generator=generator, progress=progress)[0]

    def meta_losses(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:  # noqa: ARG002
        """The queries' cross-entropy, the examples in random order and the classes at random places."""
        tasks, places = label_codes.dealt(episode, self.places, generator)
        return torch.vmap(self._loss)(tasks, places)

    def _blocks(self) -> list[Attention | CausalConvolution]:
        return cast("list[Attention | CausalConvolution]", list(self.blocks))

    def _loss(self, episode: Episode, places: Tensor) -> Tensor:
        state = self._show(episode.support, places)
        return cross_entropy(self.predict(state, episode.query.inputs), episode.query.targets)

    def _show(self, support: SupportSet, places: Tensor) -> State:
        codes = label_codes.codes(support.targets, places, self.places)
        rows, state = torch.cat([self.embed(support.inputs), codes], dim=-1), {"places": places}
        for number, block in enumerate(self._blocks()):
            rows, memory = block.show(rows)
            state |= {f"{number}.{name}": tensor for name, tensor in memory.items()}
        return state


def build(*, backbone: nn.Module, features: int, most_ways: int = 20, length: int = 26, filters: int = 32) -> SNAIL:
    """A SNAIL around `backbone`."""
    return SNAIL(backbone=backbone, features=features, most_ways=most_ways, length=length, filters=filters)
