"""Pictures of equal counts in one `.npz`; `docs/data.md` describes the format.

Arrays: `images` (classes, drawings, H, W) or (classes, drawings, H, W, 3) uint8, and `character` (classes,) names;
optional `alphabet` (classes,) groups, `split` (classes,) names of splits, `vinyals` (classes,) 0 train, 1 val, 2 test.
"""

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
    with _load(path) as arrays:
        return _known(arrays)


def build(*, path: Path, spec: InputSpec, split: str | None) -> Pictures:
    """Read one split, or all classes where `split` is None.

    Raises:
        InvalidDataset: not such a file, or no such split; says which there are.
    """
    with _load(path) as arrays:
        if "images" not in arrays or "character" not in arrays:
            raise InvalidDataset(f"{path.name} holds {sorted(arrays)}; expected at least `images` and `character`")
        images, names = arrays["images"], arrays["character"].astype(str)
        groups = arrays["alphabet"].astype(str) if "alphabet" in arrays else names
        chosen = np.flatnonzero(_chosen(arrays, split, len(names), path))
    if images.dtype != np.uint8 or images.ndim not in (4, 5) or len(images) != len(names):
        raise InvalidDataset(
            f"{path.name}: `images` is {images.dtype} {images.shape}; "
            f"expected uint8 ({len(names)}, drawings, H, W[, 3])"
        )
    per_class = images.shape[1]
    pictures = [conform(image, spec) for image in images[chosen].reshape(-1, *images.shape[2:])]
    return Pictures(
        images=stack(pictures),
        labels=torch.arange(len(chosen)).repeat_interleave(per_class),
        classes=tuple(f"{groups[i]}/{names[i]}" for i in chosen),
        groups=tuple(str(groups[i]) for i in chosen),
        source=f"{path.stem}:{split}" if split else path.stem,
        licence=_licence(path),
    )


def _load(path: Path) -> "np.lib.npyio.NpzFile":
    try:
        file: np.lib.npyio.NpzFile = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InvalidDataset(f"{path.name} cannot be read as .npz: {error}") from error
    return file


def _chosen(arrays: "np.lib.npyio.NpzFile", split: str | None, classes: int, path: Path) -> np.ndarray:
    if split is None:
        return np.ones(classes, dtype=bool)
    known = _known(arrays)
    if split not in known:
        raise InvalidDataset(f"{path.name} has no split {split!r}; it has: {', '.join(known) or 'none'}")
    if split in _VINYALS:
        return np.asarray(arrays["vinyals"] == _VINYALS[split])
    return np.asarray(arrays["split"] == split)


def _known(arrays: "np.lib.npyio.NpzFile") -> list[str]:
    named = sorted(set(arrays["split"].tolist())) if "split" in arrays else []
    return named + (list(_VINYALS) if "vinyals" in arrays else [])


def _licence(path: Path) -> str:
    return "MIT" if path.stem.startswith("omniglot") else "unknown"
