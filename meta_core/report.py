"""What a support set says about itself: which labels confuse, what looks mislabelled, duplicate or too few.

Pure functions of encoded examples, of the logits that `leave_one_out` gave, and of hashes; examples and labels are
numbers here, whoever has names for them puts them in.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from meta_core.episode import SupportSet
from meta_core.functional import unit_rows
from meta_core.leave_one_out import has_classmates
from meta_core.suspicion import CLEARLY, Suspect, suspects

FEW_SHOTS = 5
"""With fewer examples a label's accuracy rises steeply with every further one."""
MOST_COMPARED = 1000
"""Examples that are compared pair by pair; of more, the first."""
FEWEST_JUDGED = 20
"""Of many examples, fewer than these say little about how the rest would do."""
NEARLY = 0.2
"""A pair closer than this share of the median distance within labels is a near duplicate.

On Caltech and Grocery that finds 9 of 10 copies that were saved anew, resized, brightened, flipped or cropped to 95 %;
of unrelated pictures one pair in two support sets of 50 is as close.
"""
EQUAL = 1e-6
"""Cosine distance that is rounding."""


@dataclass(frozen=True)
class Confusion:
    """Examples of a label that the others speak of as another: `count` of the `of` that were judged."""

    label: int
    taken_for: int
    count: int
    of: int


@dataclass(frozen=True)
class Duplicates:
    """Examples of one picture, or of nearly one.

    Attributes:
        examples: two or more, ascending.
        exact: whether the model is given the very same picture.
        distance: the largest cosine distance of neighbours among them; 0 where exact.
        labels_differ: whether one of them must be mislabelled.
    """

    examples: tuple[int, ...]
    exact: bool
    distance: float
    labels_differ: bool


@dataclass(frozen=True)
class Report:
    """What a support set says about itself. None stands for what could not be looked at.

    Attributes:
        accuracy: share of the judged examples that the others would have labelled alike; None where too few were.
        judged: examples that were left out and answered by the others.
        examples: of all.
        alone: labels with one example, which nothing but itself speaks for.
        confusions: the most frequent first.
        mislabelled: the likeliest first; those for which another label is clearly likelier.
        duplicates: exact ones first.
        few: labels with fewer than `FEW_SHOTS` examples, and how many these have.
        compared: examples that were compared pair by pair.
    """

    accuracy: float | None
    judged: int
    examples: int
    alone: tuple[int, ...]
    confusions: tuple[Confusion, ...] | None
    mislabelled: tuple[Suspect, ...] | None
    duplicates: tuple[Duplicates, ...]
    few: tuple[tuple[int, int], ...]
    compared: int


def report(support: SupportSet, *, logits: Tensor | None, hashes: Sequence[bytes], pictures: bool = False) -> Report:
    """The report on one support set.

    Args:
        support: S encoded examples on the CPU, targets one-hot, no padding.
        logits: (S, C) by `leave_one_out`; None where it was not asked.
        hashes: S, of the pictures as the model takes them.
        pictures: whether nothing encoded them, so that their distances say little; only equal ones are then told.
    """
    labels, mates = support.targets.argmax(-1), has_classmates(support)
    shots = support.targets.sum(0).int().tolist()
    answered = torch.zeros_like(mates) if logits is None else ~logits.isnan().any(-1)
    judged = int(answered.sum())
    known = None if logits is None or not 0 < min(FEWEST_JUDGED, int(mates.sum())) <= judged else logits[answered]
    return Report(
        accuracy=None if known is None else float((known.argmax(-1) == labels[answered]).double().mean()),
        judged=judged,
        examples=len(labels),
        alone=tuple(label for label, count in enumerate(shots) if count == 1),
        confusions=None if known is None else confusions(known, labels[answered]),
        mislabelled=None if pictures or not mates.any() else clearly_mislabelled(support),
        duplicates=duplicates(support, hashes, exact_only=pictures),
        few=tuple((label, count) for label, count in enumerate(shots) if count < FEW_SHOTS),
        compared=0 if pictures else min(len(labels), MOST_COMPARED),
    )


def clearly_mislabelled(support: SupportSet) -> tuple[Suspect, ...]:
    """The examples for which another label is clearly likelier, the most suspect first."""
    return tuple(suspect for suspect in suspects(support) if suspect.score >= CLEARLY)


def confusions(logits: Tensor, labels: Tensor) -> tuple[Confusion, ...]:
    """Pairs of labels that confuse, from (N, C) logits and the N true labels; the most frequent first."""
    ways = logits.shape[1]
    matrix = confusion_matrix(logits.argmax(-1), labels, ways=ways)
    judged = matrix.sum(1)
    wrong = matrix.clone().fill_diagonal_(0)
    found = [
        Confusion(int(label), int(other), int(wrong[label, other]), int(judged[label]))
        for label, other in torch.nonzero(wrong).tolist()
    ]
    return tuple(sorted(found, key=lambda each: (-each.count, -each.count / each.of, each.label, each.taken_for)))


def confusion_matrix(predicted: Tensor, labels: Tensor, *, ways: int) -> Tensor:
    """How often each label (row) was answered as each (column): (N,), (N,) → (C, C)."""
    return torch.bincount(labels * ways + predicted, minlength=ways * ways).view(ways, ways)


def duplicates(support: SupportSet, hashes: Sequence[bytes], *, exact_only: bool = False) -> tuple[Duplicates, ...]:
    """Groups of examples with one hash, then groups whose features nearly coincide."""
    labels = support.targets.argmax(-1).tolist()
    by_hash: dict[bytes, list[int]] = defaultdict(list)
    for example, own in enumerate(hashes):
        by_hash[own].append(example)
    exact = [_group(members, labels, exact=True, distance=0.0) for members in by_hash.values() if len(members) > 1]
    if exact_only:
        return tuple(exact)
    first = torch.tensor([members[0] for members in by_hash.values()])[:MOST_COMPARED]
    near = _near(support.inputs[first].flatten(1), torch.tensor(labels)[first])
    return (
        *exact,
        *(_group(first[members].tolist(), labels, exact=False, distance=distance) for members, distance in near),
    )


def _group(members: Sequence[int], labels: Sequence[int], *, exact: bool, distance: float) -> Duplicates:
    return Duplicates(tuple(sorted(members)), exact, distance, len({labels[member] for member in members}) > 1)


def _near(features: Tensor, labels: Tensor) -> list[tuple[Tensor, float]]:
    """Groups of rows (N, D) that nearly coincide, by single linkage, each with its longest link."""
    distances = cosine_distances(features, features)
    pairs = torch.ones_like(distances, dtype=torch.bool).triu(1)
    alike = distances[pairs & (labels[:, None] == labels)]
    usual = alike[alike > EQUAL] if len(alike) else distances[pairs & (distances > EQUAL)]
    threshold = max(EQUAL, NEARLY * float(usual.median()) if len(usual) else 0.0)
    return _linked(torch.nonzero(pairs & (distances < threshold)), distances)


def _linked(links: Tensor, distances: Tensor) -> list[tuple[Tensor, float]]:
    """Connected components of pairs (P, 2) among rows with these distances (N, N)."""
    group = list(range(len(distances)))

    def root(row: int) -> int:
        while group[row] != row:
            row = group[row]
        return row

    for one, other in links.tolist():
        group[root(other)] = root(one)
    members: dict[int, list[int]] = defaultdict(list)
    longest: dict[int, float] = defaultdict(float)
    for one, other in links.tolist():
        members[root(one)] += [one, other]
        longest[root(one)] = max(longest[root(one)], float(distances[one, other]))
    return [(torch.tensor(sorted(set(rows))), longest[key]) for key, rows in members.items()]


def cosine_distances(rows: Tensor, columns: Tensor) -> Tensor:
    """1 − cosine of every pair, in float64 and never below 0: (N, D), (M, D) → (N, M)."""
    return (1 - unit_rows(rows) @ unit_rows(columns).T).clamp_min(0)
