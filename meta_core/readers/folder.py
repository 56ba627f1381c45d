"""A user's own pictures: a folder or a zip of `class/file`."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import torch

from meta_core.errors import InvalidDataset, UndecodableImage
from meta_core.pictures import Pictures, stack
from meta_core.preprocess import InputSpec, decode


def matches(path: Path) -> bool:
    """Whether `path` is a folder or a zip."""
    return path.is_dir() or path.suffix == ".zip"


def splits(path: Path) -> list[str]:
    """Names of the parts that can be asked for: the top folders of `split/class/file`."""
    return sorted({PurePosixPath(name).parts[0] for name in _names(path) if len(PurePosixPath(name).parts) == 3})


def build(*, path: Path, spec: InputSpec, split: str | None) -> Pictures:
    """Read every picture under `path`; its class is its folder, its group the part of that before `__`, if any.

    Args:
        path: a folder or zip of `class/file`, or of `split/class/file`.
        spec: what the model takes.
        split: the first folder to look in, or None where classes stand at the top.

    Raises:
        InvalidDataset: no such split, no picture, or a file that is not one (it is named).
    """
    inputs, names = [], []
    for name, data in _files(path):
        parts = PurePosixPath(name).parts
        if split is not None:
            if parts[0] != split:
                continue
            parts = parts[1:]
        if len(parts) != 2 or parts[1].startswith("."):
            continue
        try:
            inputs.append(decode(data, spec))
        except UndecodableImage as error:
            raise InvalidDataset(f"{path.name}: {name}: {error}") from error
        names.append(parts[0])
    if not inputs:
        where = f"{split}/class/file" if split else "class/file"
        raise InvalidDataset(f"{path} holds no picture at {where}")
    classes = sorted(set(names))
    number = {name: i for i, name in enumerate(classes)}
    return Pictures(
        images=stack(inputs),
        labels=torch.tensor([number[name] for name in names]),
        classes=tuple(classes),
        groups=tuple(name.partition("__")[0] for name in classes),
        source=f"{path.stem}:{split}" if split else path.stem,
    )


def _names(path: Path) -> list[str]:
    """Names inside of every file, in a fixed order."""
    if path.is_dir():
        return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    try:
        with zipfile.ZipFile(path) as archive:
            return sorted(name for name in archive.namelist() if not name.endswith("/"))
    except (OSError, zipfile.BadZipFile) as error:
        raise InvalidDataset(f"{path.name} cannot be read as a zip: {error}") from error


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name inside, bytes) of every file, one in memory at a time."""
    names = _names(path)
    if path.is_dir():
        yield from ((name, (path / name).read_bytes()) for name in names)
        return
    with zipfile.ZipFile(path) as archive:
        try:
            yield from ((name, archive.read(name)) for name in names)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # damaged or encrypted entries
            raise InvalidDataset(f"{path.name} cannot be read as a zip: {error}") from error
