"""Accuracy on classes never trained on, over many episodes, with its 95 % confidence interval."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from meta_core.asking import Lookup, ask, encode_pictures, evaluation_workers, looking_up
from meta_core.card import Accuracy
from meta_core.datasets import read_pictures
from meta_core.intervals import mean_ci95
from meta_core.lake import holds_lake_runs, lake_accuracy
from meta_core.learner import AdaptOptions, Learner
from meta_core.memorization import CHECKED_EPISODES, MemorizationCheck, check_memorization
from meta_core.norms import normalizes_batches
from meta_core.objectives import accuracy
from meta_core.parallel import Workers
from meta_core.pictures import Pictures
from meta_core.plan import EpisodePlan, check_plan, draw
from meta_core.preprocess import InputSpec
from meta_core.progress import episodes_bar
from meta_core.transductive import batch_statistics

__all__ = [
    "EpisodePlan",
    "accuracies",
    "accuracy_row",
    "check_plan",
    "encode_pictures",
    "episode_accuracy",
    "evaluate_data",
    "holds_lake_runs",
    "lake_accuracy",
    "mean_ci95",
]

_TASK_BATCH = 50
_SLOW_TASK_BATCH = 10
"""Where a task takes a good part of a second, so that the bar moves."""


def accuracies(
    learner: Learner,
    lookup: Lookup,
    pictures: Pictures,
    plan: EpisodePlan,
    *,
    options: AdaptOptions | None = None,
    workers: Workers | None = None,
    batch: int = _TASK_BATCH,
) -> Iterator[Tensor]:
    """The accuracy of each episode, `batch` episodes at a time; whoever has waited long enough may stop between.

    Args:
        learner: in `eval` mode.
        lookup: of the learner's inputs by the pictures' numbers.
        pictures: their labels.
        plan: which episodes; the same plan asks the same episodes of every learner.
        options: of adaptation.
        workers: as for `adapt_many`.
        batch: episodes that are adapted together.

    Raises:
        InvalidDataset: too few classes or too few pictures in one.
    """
    targets = torch.eye(plan.ways).repeat_interleave(plan.queries, dim=0)
    episodes = draw(pictures, plan)
    while drawn := list(itertools.islice(episodes, batch)):
        shown, asked = zip(*((task[:, : plan.shots], task[:, plan.shots :].flatten()) for task in drawn), strict=True)
        logits = ask(learner, lookup, shown, asked, options=options, workers=workers)
        yield accuracy(torch.stack(logits), targets.expand(len(drawn), -1, -1))


def episode_accuracy(
    learner: Learner,
    features: Tensor | Lookup,
    pictures: Pictures,
    plan: EpisodePlan,
    *,
    options: AdaptOptions | None = None,
    workers: Workers | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Accuracy:
    """Mean accuracy over random episodes.

    Args:
        learner: in `eval` mode.
        features: (N, *features), of `pictures` in their order, or what looks them up.
        pictures: the labels of the features.
        plan: which episodes.
        options: of adaptation.
        workers: as for `adapt_many`.
        advance: told how many episodes were just finished.

    Raises:
        InvalidDataset: too few classes or too few pictures in one.
    """
    lookup = features.__getitem__ if isinstance(features, Tensor) else features
    options = options or AdaptOptions()
    found: list[Tensor] = []
    batch = _TASK_BATCH if learner.encodes else _SLOW_TASK_BATCH
    for some in accuracies(learner, lookup, pictures, plan, options=options, workers=workers, batch=batch):
        found.append(some)
        advance(len(some))
    return accuracy_row(learner, torch.cat(found), pictures, plan, options=options)


def accuracy_row(
    learner: Learner, found: Tensor, pictures: Pictures, plan: EpisodePlan, *, options: AdaptOptions | None = None
) -> Accuracy:
    """The accuracies of a plan's episodes, (E,), as a card has them."""
    mean, ci95 = mean_ci95(found)
    return Accuracy(
        data=pictures.source,
        ways=plan.ways,
        shots=plan.shots,
        queries=plan.queries,
        episodes=plan.episodes,
        accuracy=mean,
        ci95=ci95,
        inductive=not normalizes_batches(learner),
        seed=plan.seed,
        adapt=(options or AdaptOptions()).given(),
    )


def evaluate_data(
    learner: Learner,
    spec: InputSpec,
    path: Path,
    plans: Sequence[EpisodePlan],
    *,
    split: str | None,
    rotations: bool = False,
    transductive: bool = False,
    options: AdaptOptions | None = None,
    checked: Callable[[MemorizationCheck], None] | None = None,
) -> list[Accuracy]:
    """`episode_accuracy` of every plan on a data set, with a progress bar.

    Args:
        learner: what to measure, in `eval` mode.
        spec: of its input.
        path: labelled pictures that a reader knows.
        plans: which episodes; one row each.
        split: which part of the data.
        rotations: quarter turns are further classes.
        transductive: batch norm by the statistics of an episode's pictures: those shown are encoded as one batch, and
            those asked as another, as the released code of Finn et al. 2017 does.
        options: of adaptation.
        checked: is told what the memorization check finds in the first plan's episodes; none is made where None.

    Raises:
        InvalidDataset: it cannot be read, or holds too little for a plan.
        InvalidOptions: the learner has no such adaptation option, or no transductive mode.
    """
    learner.check_options(options or AdaptOptions())
    with batch_statistics(learner) if transductive else nullcontext():
        pictures = read_pictures(path, spec, split=split)
        pictures = pictures.with_rotations() if rotations else pictures
        lookup = looking_up(learner, pictures.images, spec)
        total = sum(plan.episodes for plan in plans) + (min(plans[0].episodes, CHECKED_EPISODES) if checked else 0)
        with evaluation_workers(learner) as workers, episodes_bar("evaluating", total=total) as bar:
            told: dict[str, Any] = {"options": options, "workers": workers, "advance": bar.advance}
            rows = [episode_accuracy(learner, lookup, pictures, plan, **told) for plan in plans]
            if checked:
                checked(check_memorization(learner, lookup, pictures, plans[0], **told))
            return rows
