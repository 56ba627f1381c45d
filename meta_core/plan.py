"""Which episodes are asked: drawn from a seed, so that every learner is asked the same."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures


@dataclass(frozen=True)
class EpisodePlan:
    """Which episodes to ask.

    Attributes:
        ways: classes of an episode.
        shots: examples a class.
        queries: a class.
        episodes: how many.
        seed: the same seed asks the same; fewer episodes are the first of more.
    """

    ways: int
    shots: int
    queries: int = 15
    episodes: int = 1000
    seed: int = 0


def check_plan(pictures: Pictures, plan: EpisodePlan) -> None:
    """Refuse a plan that the pictures cannot fill, before anything is spent on it.

    Raises:
        InvalidDataset: too few classes or too few pictures in one.
    """
    _members(pictures, plan)


def fit_plan(
    pictures: Pictures, *, ways: int, shots: int, queries: int | None = None, episodes: int, seed: int = 0
) -> tuple[EpisodePlan, list[str]]:
    """A plan that somebody's own pictures can fill, and what they should be told about it.

    Args:
        pictures: whose classes may have any number of pictures each.
        ways: classes of an episode.
        shots: examples a class.
        queries: a class; where not given, as many as the smallest class has left, at most 15. A class that cannot show
            `shots` and be asked is left out.
        episodes: how many.
        seed: of the plan.

    Raises:
        InvalidDataset: too few classes, or too few that have enough pictures.
    """
    sizes = {name: len(own) for name, own in zip(pictures.classes, pictures.by_class(), strict=True)}
    if len(sizes) < ways:
        raise InvalidDataset(
            f"{pictures.source} has {len(sizes)} classes; {ways} ways need as many. Ask for fewer ways, or add classes"
        )
    needed = shots + (queries or 1)
    small = {name: size for name, size in sizes.items() if size < needed}
    if len(sizes) - len(small) < ways:
        raise InvalidDataset(
            f"{pictures.source}: {_listed(small)}; {shots} shots and {queries or 'at least 1'} queries need {needed} a "
            f"class, and {ways} ways as many such classes; {len(sizes) - len(small)} have them. Add pictures, or ask "
            "for fewer shots, queries or ways"
        )
    notes = [f"left out, as {needed} pictures a class are needed: {_listed(small)}"] if small else []
    if queries is None:
        smallest = min((name for name in sizes if name not in small), key=lambda name: sizes[name])
        queries = min(EpisodePlan.queries, sizes[smallest] - shots)
        if queries < EpisodePlan.queries:
            notes.append(
                f"asked {queries} queries a class, not {EpisodePlan.queries}, so that {smallest!r} with its "
                f"{sizes[smallest]} pictures takes part; say how many to leave smaller classes out"
            )
    return EpisodePlan(ways=ways, shots=shots, queries=queries, episodes=episodes, seed=seed), notes


def draw(pictures: Pictures, plan: EpisodePlan) -> Iterator[Tensor]:
    """Each episode's picture numbers, (C, K + Q'): a row's first `shots` are shown, the others asked.

    Raises:
        InvalidDataset: too few classes or too few pictures in one.
    """
    members, count = _members(pictures, plan), plan.shots + plan.queries
    generator = torch.Generator().manual_seed(plan.seed)
    for _ in range(plan.episodes):
        classes = torch.randperm(len(members), generator=generator)[: plan.ways].tolist()
        rows = [members[c][torch.randperm(len(members[c]), generator=generator)[:count]] for c in classes]
        yield torch.stack(rows)


def _members(pictures: Pictures, plan: EpisodePlan) -> list[Tensor]:
    """The picture numbers of each class that has enough of them."""
    members, needed = pictures.by_class(), plan.shots + plan.queries
    if len(members) < plan.ways:
        raise InvalidDataset(
            f"{pictures.source} has {len(members)} classes; {plan.ways} ways need as many. Ask for fewer ways"
        )
    enough = [own for own in members if len(own) >= needed]
    if len(enough) < plan.ways:
        raise InvalidDataset(
            f"{pictures.source}: {len(enough)} classes have the {needed} pictures that {plan.shots} shots and "
            f"{plan.queries} queries need; {plan.ways} ways need as many classes. Ask for fewer queries"
        )
    return enough


def _listed(sizes: dict[str, int], *, most: int = 5) -> str:
    smallest = sorted(sizes.items(), key=lambda pair: pair[1])
    names = ", ".join(f"{name!r} has {size}" for name, size in smallest[:most])
    return names + (f" and {len(smallest) - most} more classes are as small" if len(smallest) > most else "")
