"""`kshot data check`, on pictures in which something is wrong, and on real ones."""

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image, ImageEnhance
from typer.testing import CliRunner

from service.cli import app
from tests.service.running import digits


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["data", "check", str(path), *arguments])


def told(path: Path) -> tuple[int, dict[str, Any]]:
    done = run(path, "--json")
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["ok"] is (done.exit_code == 0)
    return done.exit_code, answer


def texts(answer: dict[str, Any], level: str) -> str:
    return "\n".join(each["text"] for each in answer["findings"] if each["level"] == level)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven real digits of each of four classes; nothing is wrong with them."""
    return write(tmp_path / "digits", digits(7, labels=(0, 1, 2, 3)))


def write(folder: Path, pairs: list[tuple[str, bytes]]) -> Path:
    for number, (label, data) in enumerate(pairs):
        file = folder / label / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def test_good_pictures_are_counted_and_measured(folder: Path) -> None:
    code, answer = told(folder)
    assert code == 0
    assert answer["classes"] == [{"split": None, "label": str(digit), "pictures": 7} for digit in range(4)]
    assert answer["sizes"] == {"shorter_side": {"smallest": 8, "median": 8, "largest": 8}}
    assert answer["verdict"].startswith("ready to adapt a model to and to measure by: 28 pictures of 4 classes")
    assert answer["findings"] == []


def test_everything_that_would_waste_a_run_is_named(folder: Path) -> None:
    (folder / "0" / "torn.png").write_bytes((folder / "0" / "00.png").read_bytes()[:60])
    (folder / "0" / "notes.txt").write_text("no picture")
    shutil.copy(folder / "1" / "07.png", folder / "2" / "same.png")
    shutil.copy(folder / "1" / "08.png", folder / "1" / "again.png")
    write(folder, [("alone", digits(1, start=100, labels=(9,))[0][1])])
    write(folder, [("few", data) for _, data in digits(3, start=100, labels=(8,))])
    (folder / "README.txt").write_text("at no label")
    code, answer = told(folder)
    assert code == 1
    assert {each["file"] for each in answer["broken"]} == {"0/torn.png", "0/notes.txt"}
    assert answer["passed_over"] == ["README.txt"]
    wrong, notes = texts(answer, "wrong"), texts(answer, "note")
    assert "2 files are no pictures: 0/notes.txt, 0/torn.png" in wrong
    assert "1 class has one picture: alone" in wrong
    assert "1 group of equal pictures in several classes: 1/07.png = 2/same.png" in wrong
    assert "1 class has fewer than 6 pictures: few (3)" in notes
    assert "1 group of equal pictures in one class: 1/08.png = 1/again.png" in notes
    assert answer["verdict"].startswith("not ready")
    table = run(folder)
    assert table.exit_code == 1
    assert "take them out, or copy them again" in table.stdout
    assert "3 things to mend" in table.stdout


def test_what_stands_in_two_splits_is_told(tmp_path: Path) -> None:
    pairs = digits(6, labels=(0, 1, 2, 3))
    write(tmp_path / "data" / "train", pairs[:12])
    write(tmp_path / "data" / "test", pairs[12:])
    assert told(tmp_path / "data")[0] == 0
    shutil.copytree(tmp_path / "data" / "train" / "0", tmp_path / "data" / "test" / "0")
    code, answer = told(tmp_path / "data")
    assert code == 1
    assert "1 class stands in several splits: 0 (test and train for 0)" in texts(answer, "wrong")
    assert "6 groups of equal pictures in several splits" in texts(answer, "wrong")
    assert {group["among"] for group in answer["duplicates"] if group["exact"]} == {"splits"}


@pytest.mark.data
def test_copies_that_were_saved_anew_are_found_among_real_photos(data_folder: Path, tmp_path: Path) -> None:

    with zipfile.ZipFile(data_folder / "grocery.zip") as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")][:240:4]
        photos = {name: archive.read(name) for name in names}
    for number, data in enumerate(photos.values()):
        label = f"{number % 3}"
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / label / f"{number:02}.jpg").write_bytes(data)
    assert not [group for group in told(tmp_path / "photos")[1]["duplicates"] if group["exact"]]
    before = told(tmp_path / "photos")[1]["duplicates"]
    first = Image.open(io.BytesIO(next(iter(photos.values())))).convert("RGB")
    copies = {"saved": first, "half": first.reduce(2), "bright": ImageEnhance.Brightness(first).enhance(1.2)}
    for name, copy in copies.items():
        copy.save(tmp_path / "photos" / "1" / f"{name}.jpg", quality=70)
    code, answer = told(tmp_path / "photos")
    assert code == 0
    (found,) = [group for group in answer["duplicates"] if group not in before]
    assert [one["file"] for one in found["pictures"]] == ["0/00.jpg", "1/bright.jpg", "1/half.jpg", "1/saved.jpg"]
    assert "nearly equal pictures in several classes" in texts(answer, "note")


def test_a_format_without_files_is_checked_too(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 6, 28, 28), dtype=np.uint8)
    pictures[2, 1] = pictures[0, 0]
    np.savez(tmp_path / "drawings.npz", images=pictures, character=np.array(["a", "b", "c"]))
    code, answer = told(tmp_path / "drawings.npz")
    assert (code, answer["reader"], answer["pictures"]) == (1, "npz", 18)
    assert "1 group of equal pictures in several classes: a/a, number 0 = c/c, number 13" in texts(answer, "wrong")


def test_a_mistake_is_told_in_a_sentence(tmp_path: Path) -> None:
    for path, expected in ((tmp_path / "nowhere", "does not exist"), (tmp_path / "x.zip", "cannot be read as a zip")):
        if path.suffix:
            path.write_bytes(b"no zip")
        done = run(path)
        assert done.exit_code == 2
        assert expected in " ".join(done.stderr.split())
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty").exit_code == 2


def test_files_none_of_which_is_a_picture_are_all_named(tmp_path: Path) -> None:
    write(tmp_path, [("a", b"no picture"), ("b", b"none either")])
    code, answer = told(tmp_path)
    assert code == 1
    assert len(answer["broken"]) == 2
    assert "there are no classes" in texts(answer, "wrong")
