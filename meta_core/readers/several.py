"""Several data sets as one: their paths joined as the shell joins a PATH, `caltech101.zip:grocery.zip`."""

import os
from pathlib import Path

import torch

from meta_core import datasets
from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec


def matches(path: Path) -> bool:
    """Whether `path` is more than one."""
    return os.pathsep in str(path) and not path.exists()


def splits(path: Path) -> list[str]:
    """None: sources that are split are split differently."""
    _parts(path)
    return []


def build(*, path: Path, spec: InputSpec, split: str | None) -> Pictures:
    """All classes of all sources, source by source.

    Args:
        path: of the sources, joined by the system's path separator.
        spec: what the model takes.
        split: must be None.

    Raises:
        InvalidDataset: a source cannot be read, a split is asked for, or two sources name a class alike.
    """
    if split is not None:
        raise InvalidDataset(f"{path}: several sources have no common part {split!r}; name groups instead")
    sources = [datasets.read_pictures(part, spec, split=None) for part in _parts(path)]
    offsets = torch.tensor([0, *(len(source.classes) for source in sources)]).cumsum(0).tolist()
    return Pictures(
        images=torch.cat([source.images for source in sources]),
        labels=torch.cat([source.labels + offset for source, offset in zip(sources, offsets, strict=False)]),
        classes=tuple(name for source in sources for name in source.classes),
        groups=tuple(name for source in sources for name in source.groups),
        source=" + ".join(source.source for source in sources),
        licence=", ".join(dict.fromkeys(source.licence for source in sources)),
    )


def _parts(path: Path) -> list[Path]:
    parts = [Path(part) for part in str(path).split(os.pathsep) if part]
    if missing := [str(part) for part in parts if not part.exists()]:
        raise InvalidDataset(f"{', '.join(missing)} does not exist; expected data sets joined by {os.pathsep!r}")
    return parts
