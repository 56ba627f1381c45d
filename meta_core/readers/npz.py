"""Pictures of equal counts in one `.npz`; `docs/data.md` describes the format.

Arrays: `images` (classes, drawings, H, W) or (classes, drawings, H, W, 3) uint8, and `character` (classes,) names;
optional `alphabet` (classes,) groups, `split` (classes,) names of splits, `vinyals` (classes,) 0 train, 1 val, 2 test.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures, stack
from meta_core.preprocess import InputSpec, conform

_VINYALS = {"vinyals-train": 0, "vinyals-val": 1, "vinyals-test": 2}


def matches(path: Path) -> bool:
    """Whether `path` is such a file, by its name."""
    return path.suffix == ".npz"


def splits(path: Path) -> list[str]:
    """Names of the parts that can be asked for."""
    return _known(_load(path, "split", "vinyals"))


def build(*, path: Path, spec: InputSpec, split: str | None) -> Pictures:
    """Read one split, or all classes where `split` is None.

    Raises:
        InvalidDataset: not such a file, or no such split; says which there are.
    """
    arrays = _load(path, "images", "character", "alphabet", "split", "vinyals")
    _check(arrays, path)
    images, names = arrays["images"], arrays["character"].astype(str)
    groups = arrays["alphabet"].astype(str) if "alphabet" in arrays else names
    chosen = np.flatnonzero(_chosen(arrays, split, len(names), path))
    pictures = [conform(image, spec) for image in images[chosen].reshape(-1, *images.shape[2:])]
    if not pictures:
        raise InvalidDataset(f"{path.name}: the split {split!r} holds no picture")
    return Pictures(
        images=stack(pictures),
        labels=torch.arange(len(chosen)).repeat_interleave(images.shape[1]),
        classes=tuple(f"{groups[i]}/{names[i]}" for i in chosen),
        groups=tuple(str(groups[i]) for i in chosen),
        source=f"{path.stem}:{split}" if split else path.stem,
        licence=_licence(path),
    )


def _load(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Those of the named arrays that the file holds; others stay packed."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names if name in arrays}
    # Not a zip, a damaged one, a single array, or Python objects, which would have to be unpickled.
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidDataset(f"{path.name} cannot be read as .npz: {error}") from error


def _check(arrays: dict[str, np.ndarray], path: Path) -> None:
    if "images" not in arrays or "character" not in arrays:
        raise InvalidDataset(f"{path.name} lacks `images` or `character`; docs/data.md describes the format")
    images, classes = arrays["images"], arrays["character"].size
    if images.dtype != np.uint8 or images.ndim not in (4, 5) or images.shape[4:] not in ((), (3,)):
        raise InvalidDataset(
            f"{path.name}: `images` is {images.dtype} {images.shape}; expected uint8 ({classes}, drawings, H, W[, 3])"
        )
    for name, array in arrays.items():
        if len(array) != classes or (name != "images" and array.ndim != 1):
            raise InvalidDataset(f"{path.name}: `{name}` has shape {array.shape}; expected {classes} classes")


def _chosen(arrays: dict[str, np.ndarray], split: str | None, classes: int, path: Path) -> np.ndarray:
    if split is None:
        return np.ones(classes, dtype=bool)
    known = _known(arrays)
    if split not in known:
        raise InvalidDataset(f"{path.name} has no split {split!r}; it has: {', '.join(known) or 'none'}")
    if split in _VINYALS and "vinyals" in arrays:
        return np.asarray(arrays["vinyals"] == _VINYALS[split])
    return np.asarray(arrays["split"] == split)


def _known(arrays: dict[str, np.ndarray]) -> list[str]:
    named = sorted(set(arrays["split"].tolist())) if "split" in arrays else []
    return named + (list(_VINYALS) if "vinyals" in arrays else [])


def _licence(path: Path) -> str:
    return "MIT" if path.stem.startswith("omniglot") else "unknown"
