"""What readers of many small files share: a folder or a zip by its names, decoded on every core into one array."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from meta_core.device import cores
from meta_core.errors import InvalidDataset, UndecodableImage
from meta_core.preprocess import InputSpec, decode

_PICTURES_A_PART = 100
_PICTURES_WITHOUT_A_BAR = 5000
"""So many are read in a few seconds."""


class Files(Protocol):
    """Files by their names inside a folder or a zip."""

    names: list[str]
    """All of them, in a fixed order."""

    def read(self, name: str) -> bytes:
        """One file; may be called from several threads."""

    def size(self, name: str) -> int:
        """Bytes."""

    def checksum(self, name: str) -> int:
        """CRC-32 of the content."""


class Listed(NamedTuple):
    """A file that a reader would read, and as what."""

    split: str | None
    label: str
    name: str


@contextmanager
def open_files(path: Path) -> Iterator[Files]:
    """The files of a folder or of a zip.

    Raises:
        InvalidDataset: not a zip, or a damaged one.
    """
    if path.is_dir():
        yield _Folder(path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InvalidDataset(f"{path.name} cannot be read as a zip: {error}") from error
    with archive:
        yield _Zip(path, archive)


def decode_files(files: Files, names: Sequence[str], spec: InputSpec, *, source: str) -> Tensor:
    """uint8 (N, channels, height, width), one picture a name, in their order; the only copy of the pixels.

    Args:
        files: where they are.
        names: which.
        spec: what the model takes.
        source: what to call `files` in messages.

    Raises:
        InvalidDataset: a file that cannot be read or is no picture; it is named.
    """
    images = np.empty((len(names), *spec.shape), np.uint8)

    def fill(start: int) -> None:
        for number, name in enumerate(names[start : start + _PICTURES_A_PART], start):
            try:
                images[number] = decode(files.read(name), spec)
            except UndecodableImage as error:
                raise InvalidDataset(f"{source}: {name}: {error}") from error

    with ThreadPoolExecutor(cores()) as threads:
        starts = range(0, len(names), _PICTURES_A_PART)
        parts = track(
            threads.map(fill, starts),
            f"reading {len(names):,} pictures of {source}",
            total=len(starts),
            console=Console(stderr=True),
            disable=len(names) < _PICTURES_WITHOUT_A_BAR,
        )
        for _ in parts:
            pass
    return torch.from_numpy(images)


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())

    def read(self, name: str) -> bytes:
        try:
            return (self._path / name).read_bytes()
        except OSError as error:
            raise InvalidDataset(f"{self._path.name}: {name} cannot be read: {error.strerror}") from error

    def size(self, name: str) -> int:
        return (self._path / name).stat().st_size

    def checksum(self, name: str) -> int:
        return zlib.crc32(self.read(name))


class _Zip:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self.names = sorted(name for name in archive.namelist() if not name.endswith("/"))

    def read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # damaged or encrypted entries
            raise InvalidDataset(f"{self._path.name} cannot be read as a zip: {name}: {error}") from error

    def size(self, name: str) -> int:
        return self._archive.getinfo(name).file_size

    def checksum(self, name: str) -> int:
        return self._archive.getinfo(name).CRC
