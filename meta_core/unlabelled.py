"""Pictures that nobody has labelled: how they are read, and what can be held back of them to choose weights by."""

import itertools
import math
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from meta_core.augment import Augmentation, augment
from meta_core.datasets import read_pictures
from meta_core.errors import InvalidDataset, UndecodableImage
from meta_core.picture_files import TOGETHER, decoded, files_of
from meta_core.pictures import Pictures, stack
from meta_core.preprocess import InputSpec
from meta_core.progress import say

_NAMED = 3
"""Files that a note names."""
_PICTURES_WITHOUT_A_BAR = 1000
"""So many are read in a second or two."""


def read_unlabelled(path: Path, spec: InputSpec) -> Pictures:
    """Every picture at any depth of a folder or a zip, each a class of its own; of others what a reader reads.

    Files that are no pictures are left out, and so are copies of a picture that is already there; both are told.

    Raises:
        InvalidDataset: nothing is there, or no file is a picture.
    """
    if not path.is_dir() and path.suffix.lower() != ".zip":
        return without_labels(read_pictures(path, spec, split=None))
    images, broken = [], []
    with files_of([path]) as files:
        bar = partial(track, console=Console(stderr=True), disable=len(files) < _PICTURES_WITHOUT_A_BAR)
        count = math.ceil(len(files) / TOGETHER)
        portions = bar(decoded(files, spec), f"reading {len(files):,} files of {path.name}", total=count)
        for file, image in itertools.chain.from_iterable(portions):
            if isinstance(image, UndecodableImage):
                broken.append(f"{file.name}: {image}")
            else:
                images.append(image)
    if broken:
        say(f"left out {len(broken)} files of {path.name}: {'; '.join(broken[:_NAMED])}{' …' * (len(broken) > _NAMED)}")
    if not images:
        raise InvalidDataset(f"{path} holds no picture ({len(broken)} other files); expected JPEG, PNG, WebP, …")
    return without_labels(_alone(stack(images), source=path.stem, licence="unknown"))


def without_labels(pictures: Pictures) -> Pictures:
    """Each picture a class of its own, and a picture that occurs several times kept once: nothing is known of classes.

    The files' names go too, which are made of labels more often than not.
    """
    first: dict[bytes, int] = {}
    for number, image in enumerate(pictures.images):
        first.setdefault(image.numpy().tobytes(), number)
    if (copies := len(pictures.images) - len(first)) > 0:
        say(f"{pictures.source}: {copies} pictures are there already, equal in every pixel, and left out")
    images = pictures.images[torch.tensor(list(first.values()), dtype=torch.int64)]
    return _alone(images, source=f"{pictures.source} without labels", licence=pictures.licence)


def hold_back(pictures: Pictures, *, share: float, least: int, seed: int) -> tuple[Pictures, Pictures]:
    """A random part of unlabelled pictures to choose weights by, taken out of those that train.

    Args:
        pictures: unlabelled.
        share: of them.
        least: pictures that the part must hold.
        seed: decides which.

    Returns:
        Those that train, and those held back.

    Raises:
        InvalidDataset: the part would be smaller than `least`.
    """
    held = round(share * len(pictures.images))
    if held < least:
        raise InvalidDataset(
            f"{pictures.source}: a share of {share:g} of {len(pictures.images)} pictures is {held}, and [validation] "
            f"asks for {least} at once. Add pictures, raise [data] validation_share, or lower [validation] ways"
        )
    order = torch.randperm(len(pictures.images), generator=torch.Generator().manual_seed(seed))
    kept, back = order[held:].sort().values, order[:held].sort().values
    return (
        _alone(pictures.images[kept], source=pictures.source, licence=pictures.licence),
        _alone(pictures.images[back], source=f"{pictures.source} (held back)", licence=pictures.licence),
    )


def changed_copies(pictures: Pictures, *, copies: int, augmentation: Augmentation, seed: int) -> Pictures:
    """`copies` changed copies of each picture, which are its class: fixed tasks where there is no label to ask for."""
    generator = torch.Generator().manual_seed(seed)
    repeated = pictures.images.repeat_interleave(copies, dim=0).float()
    changed = augment(repeated, augmentation, generator=generator).round().clamp(0, 255).to(torch.uint8)
    return Pictures(
        images=changed,
        labels=pictures.labels.repeat_interleave(copies),
        classes=pictures.classes,
        groups=pictures.groups,
        source=f"{pictures.source}, changed copies",
        licence=pictures.licence,
    )


def _alone(images: Tensor, *, source: str, licence: str) -> Pictures:
    names = tuple(f"picture {number} of {source}" for number in range(len(images)))
    return Pictures(
        images=images, labels=torch.arange(len(images)), classes=names, groups=names, source=source, licence=licence
    )
