"""Does a model take its labels from the examples, or did it learn them by heart (Yin et al. 2020, section 3)?"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from meta_core.asking import Lookup, ask
from meta_core.learner import AdaptOptions, Learner
from meta_core.parallel import Workers
from meta_core.pictures import Pictures
from meta_core.plan import EpisodePlan, draw

CHECKED_EPISODES = 50


@dataclass(frozen=True)
class MemorizationCheck:
    """What becomes of a model's answers where the examples' labels are exchanged: the first class's are called the
    second, the second's the third, the last's the first.

    Answers of a model that learns from its examples follow: who said the first says the second. Where a class had the
    same label in every task of meta-training, a network can tell labels from the picture alone; then answers stay.

    Attributes:
        episodes: how many were asked twice.
        followed: percent of the queries whose answer moved as the labels did.
        stayed: percent of those with the same answer as before.
    """

    episodes: int
    followed: float
    stayed: float

    @property
    def memorizes(self) -> bool:
        """Whether more answers stay than follow."""
        return self.stayed > self.followed

    @property
    def text(self) -> str:
        """The finding in words."""
        counts = f"{self.followed:.1f} % of the answers followed and {self.stayed:.1f} % stayed"
        if not self.memorizes:
            return f"memorization check: with the examples' labels exchanged, {counts}: the examples decide"
        return (
            f"memorization check: with the examples' labels exchanged, only {counts}: the model goes by what it "
            "learned by heart, not by its examples. Meta-train it on tasks whose labels change (no fixed_labels), with "
            "the learner mr_maml, or with one whose classes are interchangeable, such as protonet or maml"
        )


def check_memorization(
    learner: Learner,
    lookup: Lookup,
    pictures: Pictures,
    plan: EpisodePlan,
    *,
    options: AdaptOptions | None = None,
    workers: Workers | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> MemorizationCheck:
    """Ask the first episodes of a plan twice, the second time with the examples' labels exchanged.

    Args:
        learner: in `eval` mode.
        lookup: of the learner's inputs by the pictures' numbers.
        pictures: their labels.
        plan: which episodes; at most `CHECKED_EPISODES` of them.
        options: of adaptation.
        workers: as for `adapt_many`.
        advance: told how many episodes were just finished.

    Raises:
        InvalidDataset: too few classes or too few pictures in one.
    """
    episodes = draw(pictures, replace(plan, episodes=min(plan.episodes, CHECKED_EPISODES)))
    followed, stayed, asked = 0, 0, 0
    count = 0
    while drawn := list(itertools.islice(episodes, 10)):
        shown = [task[:, : plan.shots] for task in drawn]
        queries = [task[:, plan.shots :].flatten() for task in drawn]
        exchanged = [rows.roll(1, 0) for rows in shown]
        first, second = (
            torch.stack(ask(learner, lookup, examples, queries, options=options, workers=workers)).argmax(-1)
            for examples in (shown, exchanged)
        )
        followed += int((second == (first + 1) % plan.ways).sum())
        stayed += int((second == first).sum())
        asked, count = asked + first.numel(), count + len(drawn)
        advance(len(drawn))
    return MemorizationCheck(episodes=count, followed=100 * followed / asked, stayed=100 * stayed / asked)
