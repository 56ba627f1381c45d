"""Pictures on disk by their paths: folders, zips and single files, each read when it is its turn."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from meta_core.device import cores
from meta_core.errors import InvalidDataset, UndecodableImage
from meta_core.preprocess import MAX_PIXELS, InputSpec, decode
from meta_core.readers._files import open_files

Decoded: TypeAlias = NDArray[np.uint8] | UndecodableImage
"""A picture as a model takes it, or why there is none."""

_CLUTTER = {"Thumbs.db", "desktop.ini"}
TOGETHER = 64
"""Files of a portion of `decoded`."""


class PictureFile(NamedTuple):
    """A file that should be a picture: what to call it, and its content, which may be read from several threads."""

    name: str
    read: Callable[[], bytes]


class LabelledFiles(NamedTuple):
    """The files of `label/file`, and those at another depth, which are passed over."""

    labels: list[str]
    files: list[PictureFile]
    passed_over: list[str]


@contextmanager
def files_of(paths: Sequence[Path]) -> Iterator[list[PictureFile]]:
    """Files as they are given, and all that lie at any depth in folders and zips; what file managers add is left out.

    Raises:
        InvalidDataset: a path does not exist, or a zip is damaged.
    """
    with ExitStack() as stack:
        found = []
        for path in paths:
            _check_exists(path, "a picture, or a folder or zip of pictures")
            if path.is_dir() or path.suffix.lower() == ".zip":
                files = stack.enter_context(open_files(path))
                found += [
                    PictureFile(str(path / name), partial(files.read, name))
                    for name in files.names
                    if not is_clutter(name)
                ]
            else:
                found.append(PictureFile(str(path), path.read_bytes))
        yield found


@contextmanager
def labelled_files(path: Path) -> Iterator[LabelledFiles]:
    """The files of a folder or zip of `label/file`, also where all stand in one further folder.

    Raises:
        InvalidDataset: the path does not exist, is no folder or zip, or holds nothing at `label/file`.
    """
    expected = "a folder or zip of label/picture, such as cat/1.jpg and dog/1.jpg"
    _check_exists(path, expected)
    with open_files(path) as files:
        names = [name for name in files.names if not is_clutter(name)]
        parts = {name: PurePosixPath(name).parts for name in names}
        tops = {own[0] for own in parts.values()}
        depth = 3 if len(tops) == 1 and all(len(own) == 3 for own in parts.values()) else 2
        taken = [name for name in names if len(parts[name]) == depth]
        if not taken:
            raise InvalidDataset(f"{path} holds no file at label/file; expected {expected}")
        yield LabelledFiles(
            labels=[parts[name][-2] for name in taken],
            files=[PictureFile(name, partial(files.read, name)) for name in taken],
            passed_over=[name for name in names if len(parts[name]) != depth],
        )


def decoded(
    files: Sequence[PictureFile], spec: InputSpec, *, max_pixels: int = MAX_PIXELS
) -> Iterator[list[tuple[PictureFile, Decoded]]]:
    """Portions of the files with what each comes to, in order; the next is decoded while one is looked at."""
    portions = [files[start : start + TOGETHER] for start in range(0, len(files), TOGETHER)]
    if not portions:
        return
    decode_one = partial(_decoded, spec=spec, max_pixels=max_pixels)
    with ThreadPoolExecutor(cores()) as threads:
        ahead = threads.map(decode_one, portions[0])
        for portion, following in zip(portions, [*portions[1:], []], strict=True):
            now, ahead = ahead, threads.map(decode_one, following)
            yield list(zip(portion, now, strict=True))


def is_clutter(name: str) -> bool:
    """Whether a file is hidden or one that file managers add."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or parts[-1] in _CLUTTER or any(part.startswith(".") for part in parts)


def _decoded(file: PictureFile, *, spec: InputSpec, max_pixels: int) -> Decoded:
    try:
        return decode(file.read(), spec, max_pixels=max_pixels)
    except UndecodableImage as error:
        return error
    except InvalidDataset as error:  # an entry of a zip is damaged
        return UndecodableImage(str(error))
    except OSError as error:
        return UndecodableImage(f"the file cannot be read: {error.strerror}")


def _check_exists(path: Path, expected: str) -> None:
    if not path.exists():
        raise InvalidDataset(f"{path} does not exist; expected {expected}")
