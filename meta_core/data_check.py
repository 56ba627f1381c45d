"""A data set looked at picture by picture: what can be read, of which size, and what occurs twice."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from meta_core.datasets import read_pictures, reader_of
from meta_core.device import cores
from meta_core.errors import InvalidDataset, UndecodableImage
from meta_core.near_duplicates import SMALL, linked, near_pairs
from meta_core.pictures import Pictures
from meta_core.preprocess import FORMATS, InputSpec, decode
from meta_core.readers._files import Files, Listed, open_files

Advance = Callable[[str, int, int], None]
"""Is told what is done, how many of it are, and of how many."""

MOST_COMPARED = 50_000
"""Pictures that are compared pair by pair; of more, only equal ones are found."""

_TOGETHER = 100
_AS_ARRAYS = InputSpec(channels=1, height=64, width=64, fit="stretch")


class Seen(NamedTuple):
    """A picture that can be read; its size in pixels is None where it came as no file."""

    split: str | None
    label: str
    name: str
    size: tuple[int, int] | None
    sha256: bytes


class Broken(NamedTuple):
    """A file that cannot be read as a picture, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class DataCheck:
    """What a data set holds.

    Attributes:
        source: the data set's name.
        reader: the format's.
        pictures: that can be read.
        broken: files that cannot.
        passed_over: files that the reader does not look at.
        exact: groups of numbers of pictures with the same content.
        near: groups of numbers of pictures, one of each content, that are nearly the same; None where too many.
    """

    source: str
    reader: str
    pictures: Sequence[Seen]
    broken: Sequence[Broken]
    passed_over: Sequence[str]
    exact: Sequence[Sequence[int]]
    near: Sequence[Sequence[int]] | None

    def by_class(self) -> dict[tuple[str | None, str], int]:
        """Pictures of each class of each split, in order."""
        counts: dict[tuple[str | None, str], int] = defaultdict(int)
        for picture in self.pictures:
            counts[picture.split, picture.label] += 1
        return dict(sorted(counts.items(), key=lambda item: (item[0][0] or "", item[0][1])))


def check(path: Path, *, advance: Advance) -> DataCheck:
    """Look at every picture of a data set, whatever reader knows it.

    Raises:
        InvalidDataset: nothing is there, no reader takes it, or it cannot be read at all.
    """
    reader = reader_of(path)
    if hasattr(reader, "listing"):
        seen, small, broken, passed_over = _files(path, reader, advance)
    else:
        seen, small = _arrays(path, reader)
        broken, passed_over = [], []
    by_content: dict[bytes, list[int]] = defaultdict(list)
    for number, picture in enumerate(seen):
        by_content[picture.sha256].append(number)
    first = [members[0] for members in by_content.values()]
    near = None
    if len(first) <= MOST_COMPARED:
        groups = linked(near_pairs(small[np.array(first, dtype=np.int64)]))
        near = [[first[place] for place in group] for group in groups]
    return DataCheck(
        source=path.name,
        reader=reader.__name__.rpartition(".")[2],
        pictures=seen,
        broken=broken,
        passed_over=passed_over,
        exact=[members for members in by_content.values() if len(members) > 1],
        near=near,
    )


_Looked = tuple[list[Seen], NDArray[np.uint8], list[Broken], list[str]]


def _files(path: Path, reader: ModuleType, advance: Advance) -> _Looked:
    seen, small, broken = list[Seen](), list[NDArray[np.uint8]](), list[Broken]()
    with open_files(path) as files, ThreadPoolExecutor(cores()) as threads:
        listed: list[Listed] = reader.listing(path, files)
        if not listed:
            raise InvalidDataset(f"{path} holds no file at class/file; docs/data.md describes what is read")
        known = {each.name for each in listed}
        for start in range(0, len(listed), _TOGETHER):
            for found in threads.map(partial(_look, files), listed[start : start + _TOGETHER]):
                if isinstance(found, Broken):
                    broken.append(found)
                else:
                    seen.append(found[0])
                    small.append(found[1])
            advance(f"looking at {path.name}", len(seen) + len(broken), len(listed))
        passed_over = [name for name in files.names if name not in known]
    return seen, np.stack(small) if small else np.empty((0, SMALL.height, SMALL.width), np.uint8), broken, passed_over


def _look(files: Files, listed: Listed) -> tuple[Seen, NDArray[np.uint8]] | Broken:
    try:
        data = files.read(listed.name)
        small = decode(data, SMALL)[0]
    except (UndecodableImage, InvalidDataset) as error:
        return Broken(listed.name, str(error))
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        size = picture.size
    return Seen(listed.split, listed.label, listed.name, size, hashlib.sha256(data).digest()), small


def _arrays(path: Path, reader: ModuleType) -> tuple[list[Seen], NDArray[np.uint8]]:
    """Of a format that is no folder of files: all of it at once, or split by split where it must be named."""
    parts: list[tuple[str | None, Pictures]]
    try:
        parts = [(None, read_pictures(path, _AS_ARRAYS, split=None))]
    except InvalidDataset:
        splits: list[str] = reader.splits(path)
        if not splits:
            raise
        parts = [(split, read_pictures(path, _AS_ARRAYS, split=split)) for split in splits]
    seen, small = list[Seen](), list[NDArray[np.uint8]]()
    for split, pictures in parts:
        for number, (image, label) in enumerate(zip(pictures.images, pictures.labels.tolist(), strict=True)):
            name = pictures.files[number] if pictures.files else f"number {number}"
            digest = hashlib.sha256(image.numpy().tobytes()).digest()
            seen.append(Seen(split, pictures.classes[label], name, None, digest))
        rows = pictures.images[:, 0].numpy()
        small += [
            np.asarray(Image.fromarray(row).resize((SMALL.width, SMALL.height), Image.Resampling.BOX)) for row in rows
        ]
    return seen, np.stack(small)
