"""Labelled pictures on disk: read as they lie, or refused with the file's name."""

import hashlib
import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import Omniglot

from meta_core.datasets import default_split, read_pictures
from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec, conform, decode
from tests.made_up import SPEC, write_npz
from tests.meta_core.drawing import encode, photo, stroke

COLOUR = InputSpec(channels=3, height=16, width=16)


def write_folder(root: Path, names: list[str]) -> Path:
    """A picture at each name; each is darker than the one before."""
    for number, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(np.full((20, 20), 250 - 10 * number, np.uint8)))
    return root


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))


def greys(pictures: Pictures) -> list[int]:
    return [int(image[0, 0, 0]) for image in pictures.images]


# --- npz ---


def test_an_npz_is_read_class_by_class(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "made.npz", classes=4, drawings=3)
    pictures = read_pictures(path, SPEC, split=None)
    assert pictures.classes == tuple(f"alphabet{number // 2}/character{number:02d}" for number in range(4))
    assert pictures.groups == ("alphabet0", "alphabet0", "alphabet1", "alphabet1")
    assert pictures.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert pictures.source == "made"
    with np.load(path) as arrays:
        assert np.array_equal(pictures.images[4, 0], arrays["images"][1, 1])


def test_a_split_of_an_npz_is_its_classes_alone(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "made.npz", classes=4, drawings=3)
    pictures = read_pictures(path, SPEC, split="evaluation")
    assert pictures.classes == ("alphabet1/character02", "alphabet1/character03")
    assert pictures.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert pictures.source == "made:evaluation"
    assert default_split(path) == "evaluation"


def test_vinyals_split_is_known_by_three_names(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "made.npz", classes=4, split=None, vinyals=np.array([0, 2, 1, 0]))
    for name, numbers in (("vinyals-train", [0, 3]), ("vinyals-val", [2]), ("vinyals-test", [1])):
        classes = read_pictures(path, SPEC, split=name).classes
        assert [int(name[-2:]) for name in classes] == numbers
    with pytest.raises(InvalidDataset, match="no split 'evaluation'; it has: vinyals-train, vinyals-val, vinyals-test"):
        read_pictures(path, SPEC, split="evaluation")


def test_an_npz_without_groups_takes_each_class_for_its_own(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "made.npz", classes=3, alphabet=None, split=None)
    assert read_pictures(path, SPEC, split=None).groups == ("character00", "character01", "character02")
    assert default_split(path) is None


def test_an_npz_may_hold_colour(tmp_path: Path) -> None:
    images = np.stack([photo(), 255 - photo()])[:, None]
    path = write_npz(tmp_path / "made.npz", classes=2, images=images)
    assert np.array_equal(read_pictures(path, COLOUR, split=None).images[1], conform(255 - photo(), COLOUR))


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": None},
        {"character": None},
        {"images": np.zeros((4, 2, 16, 16), np.float32)},
        {"images": np.zeros((4, 16, 16), np.uint8)},
        {"images": np.zeros((4, 2, 16, 16, 4), np.uint8)},
        {"images": np.zeros((3, 2, 16, 16), np.uint8)},
        {"images": np.zeros((4, 0, 16, 16), np.uint8)},
        {"alphabet": np.array(["one"])},
        {"split": np.array(["background"])},
        {"character": np.array(["a", 1, None, {}], dtype=object)},
    ],
)
def test_an_npz_of_other_arrays_is_refused_by_name(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = write_npz(tmp_path / "made.npz", classes=4, **arrays)
    with pytest.raises(InvalidDataset, match=r"made\.npz"):
        read_pictures(path, SPEC, split=None)


def test_a_split_that_no_class_is_in_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "made.npz", classes=4, vinyals=np.zeros(4, np.int64))
    with pytest.raises(InvalidDataset, match="vinyals-val"):
        read_pictures(path, SPEC, split="vinyals-val")


def whole_npz(folder: Path) -> bytes:
    return write_npz(folder / "whole.npz", classes=4).read_bytes()


def array_alone(folder: Path) -> bytes:
    np.save(folder / "array.npy", np.zeros(3))
    return (folder / "array.npy").read_bytes()


DAMAGED = {
    "empty": lambda _: b"",
    "text": lambda _: b"not a zip",
    "truncated": lambda folder: whole_npz(folder)[:-40],
    "flipped": lambda folder: whole_npz(folder)[:400] + b"damaged" + whole_npz(folder)[407:],
    "a single array": array_alone,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_npz_is_refused_by_name(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "made.npz"
    path.write_bytes(content(tmp_path))
    with pytest.raises(InvalidDataset, match=r"made\.npz cannot be read"):
        read_pictures(path, SPEC, split=None)


@pytest.mark.data
def test_the_real_omniglot_npz_has_its_published_splits(data_folder: Path) -> None:
    pictures = read_pictures(data_folder / "omniglot_28_u8.npz", InputSpec(channels=1, height=28, width=28), split=None)
    assert pictures.images.shape == (1623 * 20, 1, 28, 28)
    assert len(pictures.classes) == 1623
    assert len(set(pictures.groups)) == 50
    assert pictures.licence == "MIT"


# --- folder and zip ---

NAMES = ["cat/1.png", "cat/2.png", "dog/1.png"]


@pytest.mark.parametrize("pack", [lambda folder: folder, zipped], ids=["folder", "zip"])
def test_a_folder_of_classes_is_read_in_order(tmp_path: Path, pack: Any) -> None:
    path = pack(write_folder(tmp_path / "pets", NAMES))
    pictures = read_pictures(path, SPEC, split=None)
    assert pictures.classes == ("cat", "dog")
    assert pictures.labels.tolist() == [0, 0, 1]
    assert greys(pictures) == [250, 240, 230]
    assert pictures.source == "pets"
    assert pictures.images.dtype == torch.uint8


@pytest.mark.parametrize("pack", [lambda folder: folder, zipped], ids=["folder", "zip"])
def test_a_split_is_the_first_folder(tmp_path: Path, pack: Any) -> None:
    names = ["train/cat/1.png", "train/dog/1.png", "test/owl/1.png", "test/owl/2.png"]
    path = pack(write_folder(tmp_path / "pets", names))
    assert read_pictures(path, SPEC, split="train").classes == ("cat", "dog")
    test = read_pictures(path, SPEC, split="test")
    assert test.classes == ("owl",)
    assert test.source == "pets:test"
    assert default_split(path) == "test"


def test_what_stands_before_two_underscores_is_the_group(tmp_path: Path) -> None:
    names = ["Fruit__Apple/1.png", "Fruit__Pear/1.png", "Milk/1.png"]
    assert read_pictures(write_folder(tmp_path / "shop", names), SPEC, split=None).groups == ("Fruit", "Fruit", "Milk")


def test_hidden_files_and_files_elsewhere_are_passed_over(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pets", [*NAMES, "cover.png", "cat/more/1.png"])
    (folder / "cat" / ".DS_Store").write_bytes(b"\x00")
    (folder / "README.txt").write_text("my pets")
    assert read_pictures(folder, SPEC, split=None).labels.tolist() == [0, 0, 1]


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pets", NAMES)
    (folder / "dog" / "notes.txt").write_text("he barks")
    for path in (folder, zipped(folder)):
        with pytest.raises(InvalidDataset, match=r"pets.*dog/notes\.txt.*expected JPEG"):
            read_pictures(path, SPEC, split=None)


def test_a_folder_without_pictures_says_where_it_looked(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(InvalidDataset, match="no picture at class/file"):
        read_pictures(tmp_path / "none", SPEC, split=None)
    with pytest.raises(InvalidDataset, match="no picture at train/class/file"):
        read_pictures(write_folder(tmp_path / "pets", NAMES), SPEC, split="train")


def test_the_files_own_bytes_are_decoded(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pets", NAMES)
    (folder / "cat" / "1.png").write_bytes(encode(stroke(), "WEBP", lossless=True))
    expected = decode(encode(stroke()), SPEC)
    assert np.array_equal(read_pictures(folder, SPEC, split=None).images[0], expected)


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.95])
def test_a_damaged_zip_is_refused_by_name(tmp_path: Path, place: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 30), dtype=np.uint8)
    for name in ("cat/1.bmp", "dog/1.bmp"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True)
        (tmp_path / "pets" / name).write_bytes(encode(noise, "BMP"))
    path = zipped(tmp_path / "pets")
    broken = bytearray(path.read_bytes())
    middle = int(place * len(broken))
    broken[middle : middle + 8] = bytes(byte ^ 0xFF for byte in broken[middle : middle + 8])
    path.write_bytes(broken)
    with pytest.raises(InvalidDataset, match=r"pets\.zip"):
        read_pictures(path, SPEC, split=None)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_zip_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pets.zip").write_bytes(content)
    with pytest.raises(InvalidDataset, match=r"pets\.zip cannot be read as a zip"):
        read_pictures(tmp_path / "pets.zip", SPEC, split=None)


# --- by path ---


@pytest.mark.parametrize("name", ["pets.zip", "pets.npz", "pets", "pets.tar"])
def test_what_does_not_exist_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidDataset, match=f"{name} does not exist"):
        read_pictures(tmp_path / name, SPEC, split=None)


def test_a_file_of_another_kind_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "pets.tar").write_bytes(b"")
    with pytest.raises(InvalidDataset, match=r"pets\.tar is neither a folder.*npz"):
        read_pictures(tmp_path / "pets.tar", SPEC, split=None)


# --- Omniglot, through torchvision ---


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The archive that torchvision downloads, from this machine: two small alphabets.

    torchvision checks the archive's MD5, so that of the made-up one is put in the place of the real one's.
    """
    tree = tmp_path / "mirror" / "images_background"
    for number, name in enumerate(["Greek/character01", "Greek/character02", "Arcadian/character01"]):
        for drawing in (2, 1):
            file = tree / name / f"{number:04d}_{drawing:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode(np.full((105, 105), 60 * number + 20 * drawing, np.uint8)))
    archive = Path(shutil.make_archive(str(tree), "zip", tmp_path / "mirror", "images_background"))
    md5 = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(Omniglot, "zips_md5", {"images_background": md5, "images_evaluation": "0" * 32})
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=archive.parent)) as server:
        monkeypatch.setattr(Omniglot, "download_url_prefix", f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield archive
        server.shutdown()
        thread.join()


def test_omniglot_is_downloaded_once_and_read_in_order(mirror: Path, tmp_path: Path) -> None:
    first = read_pictures(tmp_path / "omniglot", SPEC, split="background")
    mirror.unlink()
    again = read_pictures(tmp_path / "omniglot", SPEC, split="background")
    for pictures in (first, again):
        assert pictures.classes == ("Arcadian/character01", "Greek/character01", "Greek/character02")
        assert pictures.groups == ("Arcadian", "Greek", "Greek")
        assert pictures.labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert greys(pictures) == [140, 160, 20, 40, 80, 100]
        assert pictures.licence == "MIT"


def test_omniglot_that_cannot_be_downloaded_is_a_clear_error(mirror: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="could not be downloaded"):
        read_pictures(tmp_path / "omniglot", SPEC, split="evaluation")
    mirror.write_bytes(b"damaged on the way")
    with pytest.raises(InvalidDataset, match="could not be downloaded"):
        read_pictures(tmp_path / "omniglot", SPEC, split="background")


def test_omniglot_has_two_splits(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="no split 'test'; it has: background, evaluation"):
        read_pictures(tmp_path / "omniglot", SPEC, split="test")
    assert default_split(tmp_path / "omniglot") == "evaluation"
