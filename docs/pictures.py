"""Draw the pictures of the pages, on real handwritten digits (scikit-learn's): `make docs-pictures`.

Those of data are `kshot report`'s; the page is as Chromium shows it, which must be on the PATH. The training curves are
there already: `kshot train` left one in each model's folder.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.browser.driving import chromium, expect, seen
from tests.service.running import drawings, running

FOLDER = Path(__file__).parent / "pictures"
MODELS = Path(__file__).parents[1] / "models"
DRAWINGS = ("digits-map.png", "digits-reliability.png", "digits-shots.png")
A_LABEL = 40
CLASSES, SHOTS = (3, 5, 8), 6


def main() -> None:
    """Write `docs/pictures/digits-*.png` and `docs/pictures/page.png`."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write_digits(folder / "digits")
        _draw_report(folder)
        _draw_page(folder)


def _write_digits(folder: Path) -> None:
    data = load_digits()
    for digit in range(10):
        of_label = folder / str(digit)
        of_label.mkdir(parents=True)
        for number, image in enumerate(data.images[data.target == digit][:A_LABEL]):
            Image.fromarray(np.rint(255 - image * (255 / 16)).astype(np.uint8)).save(of_label / f"{number}.png")


def _draw_report(folder: Path) -> None:
    command = [sys.executable, "-m", "service", "report", "digits", "--model", "omniglot-protonet"]
    subprocess.run(  # noqa: S603 (the project's own command)
        [*command, "--models-dir", MODELS, "--out", "digits.html"], cwd=folder, check=True
    )
    for drawing in DRAWINGS:
        shutil.copy(folder / drawing, FOLDER)


def _draw_page(folder: Path) -> None:
    with (
        running(folder / "data", models_dir=drawings(), KSHOT_DEFAULT_MODEL="omniglot-protonet") as service,
        chromium() as browser,
        seen(browser, service.url) as page,
    ):
        files = {digit: [folder / "digits" / str(digit) / f"{n}.png" for n in range(A_LABEL)] for digit in CLASSES}
        for place, digit in enumerate(CLASSES):
            if place > 1:
                page.page.get_by_role("button", name="Add a class").click()
            page.name_class(place, str(digit))
            page.show(str(digit), files[digit][:SHOTS])
        page.is_ready(classes=len(CLASSES), pictures=SHOTS * len(CLASSES))
        page.ask([files[digit][SHOTS] for digit in CLASSES])
        expect(page.answers).to_have_count(len(CLASSES))
        expect(page.answers.get_by_role("heading", level=3)).to_have_count(len(CLASSES))
        for message in page.page.get_by_role("button", name="Close message").all():
            message.click()
        page.page.screenshot(path=FOLDER / "page.png")


if __name__ == "__main__":
    main()
