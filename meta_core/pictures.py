"""Labelled pictures in memory, what every reader makes and every task source draws from."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from meta_core.errors import InvalidDataset, OverlappingSplits


@dataclass(frozen=True)
class Pictures:
    """N pictures of C classes.

    Attributes:
        images: (N, channels, height, width) uint8, as a model's `InputSpec` asks.
        labels: (N,) int64, class numbers 0 … C − 1.
        classes: the C class names, unique.
        groups: the group each class belongs to (an alphabet, a coarse category), or its own name where there is none.
        source: what to call this in cards and tables.
        licence: of the pictures, for cards.
        files: the N names of their files, where each is one; else empty.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    source: str
    licence: str = "unknown"
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise InvalidDataset(f"{self.source}: {len(self.images)} pictures came with {len(self.labels)} labels")
        if len(self.classes) != len(self.groups):
            raise InvalidDataset(f"{self.source}: {len(self.classes)} classes came with {len(self.groups)} groups")
        if repeated := [name for name, n in Counter(self.classes).items() if n > 1]:
            raise InvalidDataset(f"{self.source}: classes occur twice: {', '.join(repeated[:5])}")

    def where(self, keep: Callable[[str, str], bool], *, source: str | None = None) -> "Pictures":
        """The classes for which `keep(class name, group)` is true, numbered anew."""
        pairs = zip(self.classes, self.groups, strict=True)
        kept = [number for number, (name, group) in enumerate(pairs) if keep(name, group)]
        renumbered = torch.full((len(self.classes),), -1, dtype=torch.int64)
        renumbered[kept] = torch.arange(len(kept))
        labels = renumbered[self.labels]
        files = zip(self.files, labels.tolist(), strict=False)
        return Pictures(
            images=self.images[labels >= 0],
            labels=labels[labels >= 0],
            classes=tuple(self.classes[number] for number in kept),
            groups=tuple(self.groups[number] for number in kept),
            source=source or self.source,
            licence=self.licence,
            files=tuple(name for name, label in files if label >= 0),
        )

    def by_class(self) -> list[Tensor]:
        """Positions of each class's pictures, C tensors of int64."""
        order = torch.argsort(self.labels, stable=True)
        counts = torch.bincount(self.labels, minlength=len(self.classes))
        return list(torch.split(order, counts.tolist()))

    def with_rotations(self) -> "Pictures":
        """Each class turned by 90°, 180° and 270° as a further class, as Vinyals et al. 2016 count them.

        Raises:
            InvalidDataset: the pictures are not square.
        """
        if self.images.shape[-1] != self.images.shape[-2]:
            raise InvalidDataset(f"{self.source}: rotations need square pictures; these are {self.images.shape[-2:]}")
        turns, count = range(4), len(self.classes)
        return Pictures(
            images=torch.cat([torch.rot90(self.images, turn, dims=(-2, -1)) for turn in turns]),
            labels=torch.cat([self.labels + turn * count for turn in turns]),
            classes=tuple(f"{name} turned {90 * turn}°" if turn else name for turn in turns for name in self.classes),
            groups=self.groups * len(turns),
            source=f"{self.source} with rotations as classes",
            licence=self.licence,
        )

    def hold_out(self, groups: Iterable[str]) -> tuple["Pictures", "Pictures"]:
        """Class-disjoint parts: the classes of all other groups, and those of `groups`.

        Raises:
            InvalidDataset: a group does not occur.
        """
        held = set(groups)
        if missing := held - set(self.groups):
            raise InvalidDataset(f"{self.source} has no group {sorted(missing)}; it has {sorted(set(self.groups))}")
        return (
            self.where(lambda _, group: group not in held),
            self.where(lambda _, group: group in held, source=f"{self.source} (held out)"),
        )


def check_disjoint(first: Pictures, second: Pictures) -> None:
    """Refuse two splits that share a class or a picture.

    Raises:
        OverlappingSplits: names what is shared.
    """
    if shared := sorted(set(first.classes) & set(second.classes)):
        raise OverlappingSplits(
            f"{first.source} and {second.source} share {len(shared)} classes ({', '.join(shared[:5])} …); "
            "a figure on one would not be of unseen classes. Use splits that have no class in common"
        )
    seen = {_fingerprint(image) for image in first.images}
    twice = [index for index, image in enumerate(second.images) if _fingerprint(image) in seen]
    if twice:
        names = [second.classes[int(second.labels[index])] for index in twice[:5]]
        raise OverlappingSplits(
            f"{len(twice)} pictures of {second.source} are also in {first.source} (of the classes {', '.join(names)}); "
            "take them out of one of the two"
        )


def stack(images: list[np.ndarray]) -> Tensor:
    """uint8 arrays of one shape → one tensor."""
    return torch.from_numpy(np.stack(images))


def _fingerprint(image: Tensor) -> bytes:
    return image.numpy().tobytes()
