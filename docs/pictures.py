"""Draw the pictures of the pages: `kshot report` on real handwritten digits (scikit-learn's), `make docs-pictures`.

The training curves need no drawing: `kshot train` left one in each model's folder.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

FOLDER = Path(__file__).parent / "pictures"
A_LABEL = 40


def main() -> None:
    """Write `docs/pictures/digits-*.png`."""
    with tempfile.TemporaryDirectory() as temporary:
        data = load_digits()
        for digit in range(10):
            folder = Path(temporary, "digits", str(digit))
            folder.mkdir(parents=True)
            for number, image in enumerate(data.images[data.target == digit][:A_LABEL]):
                Image.fromarray(np.rint(255 - image * (255 / 16)).astype(np.uint8)).save(folder / f"{number}.png")
        command = [sys.executable, "-m", "service", "report", "digits", "--model", "omniglot-protonet"]
        models = Path(__file__).parents[1] / "models"
        subprocess.run(  # noqa: S603 (the project's own command)
            [*command, "--models-dir", models, "--out", "digits.html"], cwd=temporary, check=True
        )
        FOLDER.mkdir(exist_ok=True)
        for drawing in Path(temporary).glob("digits-*.png"):
            shutil.copy(drawing, FOLDER)


if __name__ == "__main__":
    main()
