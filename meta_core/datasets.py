"""Labelled pictures by path: the first reader whose format it is reads it."""

from pathlib import Path

from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec
from meta_core.registry import READERS


def read_pictures(path: Path, spec: InputSpec, *, split: str | None) -> Pictures:
    """Read one split of a data set, or all of it where `split` is None.

    Raises:
        InvalidDataset: nothing is there, no reader takes it, or what the reader says.
    """
    for name in ("omniglot", *(name for name in READERS.names() if name != "omniglot")):
        if READERS.module(name).matches(path):
            break
    else:
        raise InvalidDataset(f"{path} is neither a folder, a .zip of class/file, an .npz (docs/data.md), nor omniglot")
    if name != "omniglot" and not path.exists():
        raise InvalidDataset(f"{path} does not exist")
    pictures: Pictures = READERS.build(name, path=path, spec=spec, split=split)
    return pictures
