"""`kshot report`, as a process of its own."""

from pathlib import Path

import pytest

from tests.service.running import MODELS, digits
from tests.service.test_cli import kshot, said


def write(folder: Path, pairs: list[tuple[str, bytes]]) -> Path:
    for number, (label, data) in enumerate(pairs):
        file = folder / label / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def test_a_folder_of_pictures_becomes_a_page_and_its_plots(tmp_path: Path) -> None:
    pairs = digits(7, labels=(0, 1, 2, 3))
    folder = write(tmp_path / "digits", [("3", pairs[0][1]), *pairs[1:], ("1", pairs[8][1])])
    page = tmp_path / "new" / "mine.html"
    done = kshot("report", str(folder), "--model", str(MODELS / "omniglot-protonet"), "--out", str(page))
    assert done.returncode == 0, done.stderr
    assert "29 pictures of 4 labels, seen by omniglot-protonet" in said(done)
    assert "3/0.png: labelled 3, looks like 0" in said(done)
    assert "1 group(s) of equal pictures" in said(done)
    assert "drawing fewer shots" in done.stderr
    text = page.read_text()
    assert "3/0.png" in text
    assert "Would more examples help?" in text
    names = sorted(path.name for path in page.parent.iterdir())
    assert names == ["mine-confusions.png", "mine-map.png", "mine-reliability.png", "mine-shots.png", "mine.html"]


def test_the_default_model_is_taken_where_none_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits", digits(2, labels=(0, 1)))
    done = kshot("report", str(folder), "--models-dir", str(MODELS), "--out", str(tmp_path / "page.html"))
    assert done.returncode == 0, done.stderr
    assert any(f"seen by {path.name}" in said(done) for path in MODELS.iterdir())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["docs", "--model", "no-such-model"], "no-such-model has no card.json"),
        (["{tmp}"], "a report compares at least two"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(arguments: list[str], told: str, tmp_path: Path) -> None:
    write(tmp_path, digits(2, labels=(0,)))
    done = kshot(
        "report", *(argument.format(tmp=tmp_path) for argument in arguments), "--out", str(tmp_path / "x.html")
    )
    assert done.returncode == 2
    assert told in said(done)
    assert "Traceback" not in said(done)


def test_help_teaches() -> None:
    words = said(kshot("report", "--help"))
    assert "kshot report my_pictures/" in words
    assert "looks mislabelled" in words or "look mislabelled" in words
