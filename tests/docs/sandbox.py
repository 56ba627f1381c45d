"""A folder with the files that the pages speak of: real handwritten digits under the names of hardware."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

LABELS = ("screw", "nail", "bolt", "nut", "washer", "hook", "hinge")
_A_LABEL = 24


def fill(folder: Path) -> None:
    """Write `my_pictures/label/number.png` and its zip, others of two labels as `labelled.zip`, and `new/`."""
    data = load_digits()
    for digit, label in enumerate(LABELS):
        found = data.images[data.target == digit]
        for number, image in enumerate(found[:_A_LABEL]):
            _write(image, folder / "my_pictures" / label / f"{number}.png")
        for number, image in enumerate(found[_A_LABEL : _A_LABEL + 5] if label in LABELS[:2] else ()):
            _write(image, folder / "labelled" / label / f"{number}.png")
        _write(found[_A_LABEL + 5], folder / "new" / f"{label}.png")
    shutil.make_archive(str(folder / "my_pictures"), "zip", folder / "my_pictures")
    shutil.make_archive(str(folder / "labelled"), "zip", folder / "labelled")


def _write(image: np.ndarray[tuple[int, int], np.dtype[np.float64]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.rint(255 - image * (255 / 16)).astype(np.uint8)
    Image.fromarray(grey).resize((64, 64), Image.Resampling.BICUBIC).save(path)
