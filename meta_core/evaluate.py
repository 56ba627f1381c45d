"""Accuracy on classes never trained on, over many episodes, with its 95 % confidence interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from meta_core.batching import adapt_many, predict_many
from meta_core.card import Accuracy
from meta_core.datasets import read_pictures
from meta_core.episode import SupportSet
from meta_core.errors import InvalidDataset
from meta_core.learner import AdaptOptions, Learner
from meta_core.objectives import accuracy
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec, normalize
from meta_core.progress import episodes_bar

_ENCODE_BATCH = 500
_TASK_BATCH = 50
_LAKE = ("runs_train_index", "runs_test_index", "runs_answer")


@dataclass(frozen=True)
class EpisodePlan:
    """Which episodes to ask."""

    ways: int
    shots: int
    queries: int = 15
    episodes: int = 1000
    seed: int = 0


@torch.no_grad()
def encode_pictures(learner: Learner, images: Tensor, spec: InputSpec) -> Tensor:
    """uint8 (N, channels, H, W) → features (N, *features), on the CPU; the learner's mode is kept."""
    device = next((parameter.device for parameter in learner.parameters()), torch.device("cpu"))
    was_training = learner.training
    learner.eval()
    chunks = [learner.encode(normalize(chunk.to(device), spec)).cpu() for chunk in torch.split(images, _ENCODE_BATCH)]
    learner.train(was_training)
    return torch.cat(chunks)


def episode_accuracy(
    learner: Learner,
    features: Tensor,
    pictures: Pictures,
    plan: EpisodePlan,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Accuracy:
    """Mean accuracy over random episodes; the same plan asks the same episodes of every learner.

    Args:
        learner: on the CPU or where `features` are.
        features: (N, *features), of `pictures` in their order.
        pictures: the labels of the features.
        plan: which episodes.
        advance: told how many episodes were just finished.

    Raises:
        InvalidDataset: too few classes or too few pictures in one.
    """
    members = _members(pictures, plan)
    generator = torch.Generator().manual_seed(plan.seed)
    per_episode: list[Tensor] = []
    while len(per_episode) < plan.episodes:
        count = min(_TASK_BATCH, plan.episodes - len(per_episode))
        drawn = torch.stack([_draw(members, plan, generator) for _ in range(count)])  # (T, C, K + Q')
        per_episode += _accuracies(learner, features, drawn, shots=plan.shots)
        advance(count)
    mean, ci95 = mean_ci95(torch.stack(per_episode))
    return Accuracy(
        data=pictures.source,
        ways=plan.ways,
        shots=plan.shots,
        queries=plan.queries,
        episodes=plan.episodes,
        accuracy=mean,
        ci95=ci95,
        seed=plan.seed,
    )


def evaluate_data(
    learner: Learner, spec: InputSpec, path: Path, plans: Sequence[EpisodePlan], *, split: str | None
) -> list[Accuracy]:
    """`episode_accuracy` of every plan on a data set, with a progress bar.

    Args:
        learner: what to measure.
        spec: of its input.
        path: labelled pictures that a reader knows.
        plans: which episodes; one row each.
        split: which part of the data.

    Raises:
        InvalidDataset: it cannot be read, or holds too little for a plan.
    """
    pictures = read_pictures(path, spec, split=split)
    features = encode_pictures(learner, pictures.images, spec)
    with episodes_bar("evaluating", total=sum(plan.episodes for plan in plans)) as bar:
        return [episode_accuracy(learner, features, pictures, plan, advance=bar.advance) for plan in plans]


def check_plan(pictures: Pictures, plan: EpisodePlan) -> None:
    """Refuse a plan that the pictures cannot fill, before anything is spent on it.

    Raises:
        InvalidDataset: too few classes or too few pictures in one.
    """
    _members(pictures, plan)


def holds_lake_runs(path: Path) -> bool:
    """Whether `lake_accuracy` can be measured on a data set."""
    if path.suffix != ".npz":
        return False
    with np.load(path, allow_pickle=False) as arrays:
        return set(arrays) >= set(_LAKE)


def lake_accuracy(learner: Learner, spec: InputSpec, path: Path) -> Accuracy:
    """The 20 official one-shot runs of Lake et al. 2015: 20 ways within one alphabet, other drawers.

    Args:
        learner: trained on the background characters alone.
        spec: of its input.
        path: an `.npz` that also holds the arrays `runs_*` (`docs/data.md`).

    Raises:
        InvalidDataset: the file holds no such runs.
    """
    if not holds_lake_runs(path):
        raise InvalidDataset(f"{path.name}: Lake's runs are read from an .npz with {', '.join(_LAKE)} (docs/data.md)")
    with np.load(path, allow_pickle=False) as arrays:
        train, test, answers = (torch.from_numpy(arrays[name].astype(int)) for name in _LAKE)
    pictures = read_pictures(path, spec, split=None)

    def encoded(runs: Tensor) -> list[Tensor]:
        features = encode_pictures(learner, pictures.images[runs.flatten()], spec)
        return list(torch.split(features, runs.shape[1]))

    supports = [_one_hot_support(features, ways=len(features), shots=1) for features in encoded(train)]
    states = adapt_many(learner, supports, options=AdaptOptions())
    logits = torch.stack(predict_many(learner, states, encoded(test)))
    right = (logits.argmax(-1) == answers).double().mean(-1)
    mean, ci95 = mean_ci95(right)
    return Accuracy(
        data=pictures.source,
        ways=train.shape[1],
        shots=1,
        queries=1,
        episodes=len(train),
        accuracy=mean,
        ci95=ci95,
        protocol="lake",
    )


def mean_ci95(values: Tensor) -> tuple[float, float]:
    """Mean and half width of its 95 % confidence interval, in percent (normal approximation)."""
    half = 1.96 * float(values.std()) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return 100 * float(values.mean()), 100 * half


def _members(pictures: Pictures, plan: EpisodePlan) -> list[Tensor]:
    members, needed = pictures.by_class(), plan.shots + plan.queries
    if len(members) < plan.ways:
        raise InvalidDataset(f"{pictures.source} has {len(members)} classes; {plan.ways} ways need as many")
    enough = [own for own in members if len(own) >= needed]
    if len(enough) < plan.ways:
        raise InvalidDataset(
            f"{pictures.source}: {len(enough)} classes have the {needed} pictures that {plan.shots} shots and "
            f"{plan.queries} queries need; {plan.ways} ways need as many classes. Ask for fewer queries"
        )
    return enough


def _draw(members: list[Tensor], plan: EpisodePlan, generator: torch.Generator) -> Tensor:
    """Picture numbers of one episode, (C, K + Q')."""
    classes = torch.randperm(len(members), generator=generator)[: plan.ways].tolist()
    count = plan.shots + plan.queries
    rows = [members[c][torch.randperm(len(members[c]), generator=generator)[:count]] for c in classes]
    return torch.stack(rows)


@torch.no_grad()
def _accuracies(learner: Learner, features: Tensor, drawn: Tensor, *, shots: int) -> list[Tensor]:
    ways, count = drawn.shape[1:]
    targets = torch.eye(ways).repeat_interleave(count - shots, dim=0)
    supports = [_one_hot_support(features[task[:, :shots].flatten()], ways=ways, shots=shots) for task in drawn]
    states = adapt_many(learner, supports, options=AdaptOptions())
    logits = predict_many(learner, states, [features[task[:, shots:].flatten()] for task in drawn])
    return [accuracy(row, targets) for row in logits]


def _one_hot_support(inputs: Tensor, *, ways: int, shots: int) -> SupportSet:
    return SupportSet(inputs, torch.eye(ways).repeat_interleave(shots, dim=0), torch.ones(len(inputs)))
