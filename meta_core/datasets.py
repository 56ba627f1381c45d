"""Labelled pictures by path: the first reader whose format it is reads it."""

from pathlib import Path
from types import ModuleType

from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec
from meta_core.registry import READERS

_DOWNLOADS, _SEVERAL = "omniglot", "several"
"""The readers whose path is none that exists: of what is not there yet, and of several paths."""


def read_pictures(path: Path, spec: InputSpec, *, split: str | None) -> Pictures:
    """Read one split of a data set, or all of it where `split` is None.

    Raises:
        InvalidDataset: nothing is there, no reader takes it, or what the reader says.
    """
    pictures: Pictures = reader_of(path).build(path=path, spec=spec, split=split)
    return pictures


def default_split(path: Path) -> str | None:
    """What is evaluated where nobody says: the part called `evaluation` or `test`, or everything."""
    splits: list[str] = reader_of(path).splits(path)
    return next((name for name in ("evaluation", "test") if name in splits), None)


def reader_of(path: Path) -> ModuleType:
    """The module of `meta_core.readers` that reads a path.

    Raises:
        InvalidDataset: nothing is there, or no reader takes it.
    """
    names = sorted(READERS.names(), key=lambda name: name not in (_DOWNLOADS, _SEVERAL))
    reader = next((READERS.module(name) for name in names if READERS.module(name).matches(path)), None)
    if reader is None:
        there = "is neither" if path.exists() else "does not exist; expected"
        raise InvalidDataset(f"{path} {there} a folder or .zip of class/file, an .npz (docs/data.md), or `omniglot`")
    if not path.exists() and not reader.__name__.endswith((_DOWNLOADS, _SEVERAL)):
        raise InvalidDataset(f"{path} does not exist")
    return reader
