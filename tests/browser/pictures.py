"""Real pictures to show the page: of the data sets where they are, else pieces of photos that come with packages."""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import cbook
from PIL import Image
from sklearn.datasets import load_sample_images

_CLASSES = ("Leopards", "Motorbikes", "bonsai", "Faces")
_EACH = 9
_GRID = 4


class Shown(NamedTuple):
    """Files of three classes, and of a kind that is none of them.

    Attributes:
        names: of the classes.
        files: of each class.
        strangers: files of something else.
    """

    names: list[str]
    files: list[list[Path]]
    strangers: list[Path]


def pictures(data: Path, folder: Path) -> Shown:
    """Files in `folder`, a folder a class."""
    archive = data / "caltech101.zip"
    kinds = _of_data(archive) if archive.is_file() else _of_packages()
    files: dict[str, list[Path]] = {}
    for kind, contents in kinds.items():
        (folder / kind).mkdir(parents=True)
        files[kind] = [folder / kind / f"{kind}-{number}.jpg" for number in range(len(contents))]
        for file, content in zip(files[kind], contents, strict=True):
            file.write_bytes(content)
    *names, stranger = kinds
    return Shown(names, [files[name] for name in names], files[stranger])


def _of_data(archive: Path) -> dict[str, list[bytes]]:
    kinds: dict[str, list[bytes]] = {}
    with zipfile.ZipFile(archive) as opened:
        for kind in _CLASSES:
            found = sorted(name for name in opened.namelist() if name.startswith(f"{kind}/") and name.endswith(".jpg"))
            kinds[kind.lower()] = [opened.read(name) for name in found[:_EACH]]
    return kinds


def _of_packages() -> dict[str, list[bytes]]:
    samples = load_sample_images()
    photos = dict(zip((Path(name).stem for name in samples.filenames), samples.images, strict=True))
    photos["hopper"] = np.asarray(Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB"))
    kinds = {kind: _pieces(Image.fromarray(photo)) for kind, photo in photos.items()}
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    return kinds | {"noise": [_jpeg(Image.fromarray(noise))]}


def _pieces(photo: Image.Image) -> list[bytes]:
    """From the middle of the photo, where there is something to see."""
    width, height = photo.width // _GRID, photo.height // _GRID
    places = [(column, row) for row in range(1, _GRID) for column in range(_GRID)][:_EACH]
    return [_jpeg(photo.crop((x * width, y * height, (x + 1) * width, (y + 1) * height))) for x, y in places]


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "jpeg", quality=90)
    return buffer.getvalue()
