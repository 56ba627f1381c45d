"""Omniglot as torchvision keeps it, downloaded on first use (Lake, Salakhutdinov & Tenenbaum 2015)."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets import Omniglot

from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures, stack
from meta_core.preprocess import InputSpec, conform

_SPLITS = {"background": True, "evaluation": False}


def matches(path: Path) -> bool:
    """Whether `path` is `omniglot`, or a folder in which torchvision keeps it."""
    return path.name == "omniglot" or (path / "omniglot-py").is_dir()


def splits(path: Path) -> list[str]:  # noqa: ARG001 (every reader is asked alike)
    """Names of the parts that can be asked for."""
    return list(_SPLITS)


def build(*, path: Path, spec: InputSpec, split: str | None) -> Pictures:
    """Read `background` or `evaluation`, downloading it into `path` if it is not there.

    Raises:
        InvalidDataset: another split, or the download failed.
    """
    if split not in _SPLITS:
        raise InvalidDataset(f"Omniglot has no split {split!r}; it has: {', '.join(_SPLITS)}")
    try:
        data = Omniglot(root=path, background=_SPLITS[split], download=True)
    except (OSError, RuntimeError) as error:
        raise InvalidDataset(f"Omniglot could not be downloaded into {path}: {error}") from error
    # torchvision lists files as the file system happens to; sorted, a seed draws the same episodes everywhere.
    characters = sorted(data._characters)
    number = {name: i for i, name in enumerate(characters)}
    files = sorted((data._characters[label], name) for name, label in data._flat_character_images)
    pictures = [_read(Path(data.target_folder, *file), spec) for file in files]
    return Pictures(
        images=stack(pictures),
        labels=torch.tensor([number[character] for character, _ in files]),
        classes=tuple(characters),
        groups=tuple(name.partition("/")[0] for name in characters),
        source=f"omniglot:{split}",
        licence="MIT",
    )


def _read(path: Path, spec: InputSpec) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return conform(image, spec)
