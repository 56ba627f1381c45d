"""`kshot predict`, held against a running service."""

import csv
import io
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from service.app import create_app
from service.cli import app
from service.settings import Settings
from tests.service.running import (
    MODELS,
    REPOSITORY,
    assert_same,
    digits,
    drawings,
    probabilities,
    serving,
    wait_until_answered,
)

SHOTS, QUERIES = 4, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Examples in folders by label, and queries beside them, one of which is no picture."""
    folder = tmp_path_factory.mktemp("digits")
    for number, (label, data) in enumerate(digits(SHOTS)):
        file = folder / "examples" / label / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (folder / "new").mkdir()
    for number, (_, data) in enumerate(digits(QUERIES, start=100)):
        (folder / "new" / f"{number:02}.png").write_bytes(data)
    (folder / "examples" / ".DS_Store").write_bytes(b"clutter")
    return folder


def run(*arguments: str) -> Result:
    """In this process: a new one takes seconds to import torch."""
    return CliRunner().invoke(app, ["predict", *arguments])


def of(folder: Path, *arguments: str) -> list[str]:
    return ["--support", str(folder / "examples"), "--queries", str(folder / "new"), *arguments]


def told(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def asked(client: httpx.Client, folder: Path, model: str) -> dict[str, Any]:
    """What the service says of the same files."""
    examples, queries = sorted((folder / "examples").glob("*/*.png")), sorted((folder / "new").glob("*.png"))
    files = [("support", (path.name, path.read_bytes())) for path in examples]
    files += [("queries", (path.name, path.read_bytes())) for path in queries]
    fields = {"labels": json.dumps([path.parent.name for path in examples]), "model": model}
    answer: dict[str, Any] = client.post("/v1/classify/upload", files=files, data=fields).json()
    return answer


@pytest.mark.parametrize("model", ["omniglot-protonet", "omniglot-maml"])
def test_the_answers_are_those_of_the_service(model: str, client: httpx.Client, folder: Path) -> None:
    here, there = told(run(*of(folder, "--model", model, "--json"))), asked(client, folder, model)
    assert_same(probabilities(here), probabilities(there))
    for one, other in zip(here["results"], there["results"], strict=True):
        assert one["prediction"] == other["prediction"]
        assert one["none_probability"] == pytest.approx(other["none_probability"], abs=1e-5)
        assert one["filename"].endswith(other["filename"])
    assert (here["model"], here["calibrated"]) == (model, there["calibrated"])
    assert here["labels"] == [{"label": str(digit), "shots": SHOTS} for digit in range(10)]


def test_the_default_model_knows_strangers_as_in_the_service(folder: Path, tmp_path: Path) -> None:
    """Of the queries' labels the last is none of the examples'."""
    for label in "012":
        shutil.copytree(folder / "examples" / label, tmp_path / "digits" / "examples" / label)
    (tmp_path / "digits" / "new").mkdir()
    for file in sorted((folder / "new").iterdir())[: 4 * QUERIES]:
        shutil.copy(file, tmp_path / "digits" / "new")
    models = tmp_path / "models"
    models.mkdir()
    (models / "photos").symlink_to(MODELS / "photos")
    here = told(run(*of(tmp_path / "digits", "--models-dir", str(models), "--json")))
    settings = Settings(models_dir=models, data_dir=tmp_path / "data", device="cpu")
    with serving(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        wait_until_answered(client)
        there = asked(client, tmp_path / "digits", "photos")
    assert here["calibrated"]
    assert_same(probabilities(here), probabilities(there))
    strangers = [one["none_probability"] for one in here["results"]]
    assert strangers == pytest.approx([one["none_probability"] for one in there["results"]], abs=1e-5)
    assert [one["prediction"] for one in here["results"]] == [one["prediction"] for one in there["results"]]


def test_auto_takes_a_model_and_says_why(folder: Path) -> None:
    answer = told(run(*of(folder, "--model", "auto", "--models-dir", str(drawings(every=True)), "--json")))
    assert answer["model_choice"]["reason"].startswith(f"auto: the best, or as good as any, at labelling {10 * SHOTS}")
    assert answer["model"] in answer["model_choice"]["reason"]


def test_csv_goes_into_a_pipe_while_the_bar_goes_to_the_terminal(folder: Path) -> None:
    mine, terminal = pty.openpty()
    arguments = of(folder, "--csv", "--model", "omniglot-protonet")
    command = [sys.executable, "-m", "service", "predict", *arguments]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"}
    done = subprocess.run(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=terminal, env=environment, timeout=120, check=True
    )
    os.close(terminal)
    shown = os.read(mine, 1 << 20).decode(errors="replace")
    os.close(mine)
    assert "classifying" in shown
    assert "00.png" not in shown
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert len(rows) == 10 * QUERIES
    assert rows[0]["file"] == str(folder / "new" / "00.png")
    for row in rows:
        shares = {label: float(row[f"p({label})"]) for label in map(str, range(10))}
        assert sum(shares.values()) == pytest.approx(1)
        assert row["prediction"] == max(shares, key=lambda label: shares[label])
    right = sum(row["prediction"] == str(number // QUERIES) for number, row in enumerate(rows))
    assert right > 0.7 * len(rows)


def test_a_reader_that_leaves_early_is_no_traceback_and_no_bar_is_drawn_off_a_terminal(folder: Path) -> None:
    program = f"{sys.executable} -m service predict --csv --model omniglot-protonet"
    line = f"{program} --support '{folder}/examples' --queries '{folder}/new' | head -n 1"
    done = subprocess.run(["bash", "-c", line], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.startswith("file,prediction,")
    assert "Traceback" not in done.stderr
    assert "reading examples" in done.stderr
    assert "\x1b" not in done.stderr, "what is drawn anew belongs to a terminal"


def test_a_file_that_is_no_picture_is_told_and_the_others_are_answered(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # no path is broken into lines
    (tmp_path / "broken[1].png").write_bytes(b"no picture")
    good, archive = folder / "new" / "00.png", shutil.make_archive(str(tmp_path / "more"), "zip", folder / "new")
    queries = ("--queries", str(tmp_path / "broken[1].png"), "--queries", str(good), "--queries", archive)
    support = ("--support", str(folder / "examples"), "--model", "omniglot-protonet")
    done = run(*support, *queries, "--json")
    assert done.exit_code == 1
    bad, one, *rest = json.loads(done.stdout)["results"]
    assert (bad["index"], bad["error"]["code"]) == (0, "undecodable_image")
    assert len(rest) == 10 * QUERIES
    assert_same(probabilities({"results": [one]}), probabilities({"results": rest[:1]}), tolerance=1e-6)
    table = run(*support, *queries[:4])
    assert table.exit_code == 1
    assert "broken[1].png" in "".join(table.stdout.split())
    assert "1 of 2 files could not be classified" in table.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--support", "nowhere", "--queries", ".ci"], "nowhere does not exist; expected a folder or zip of label"),
        (["--support", ".ci", "--queries", "nowhere"], "nowhere does not exist; expected a picture, or a folder"),
        (["--support", ".ci", "--queries", "docs"], ".ci holds no file at label/file"),
        (["--support", "{one}", "--queries", "{one}"], "expected a folder for each of two labels or more"),
        (["--support", "{broken}", "--queries", "{one}"], "1 of 2 files of {broken} are no pictures"),
        (["--support", "{one}", "--queries", "{one}", "--csv", "--json"], "expected one of them"),
        (["--support", "{one}", "--queries", "{one}", "--steps", "5"], "adapt.steps is 5"),
        (["--support", "{one}", "--queries", "{one}", "--model", "no-such"], "no-such has no card.json"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(arguments: list[str], expected: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "examples" / "1", tmp_path / "one" / "1")
    for label, data in (("a", b"no picture"), ("b", (folder / "new" / "00.png").read_bytes())):
        (tmp_path / "broken" / label).mkdir(parents=True)
        (tmp_path / "broken" / label / "x.png").write_bytes(data)
    places = {"one": str(tmp_path / "one"), "broken": str(tmp_path / "broken")}
    model = [] if "--model" in arguments else ["--model", "omniglot-protonet"]
    done = run(*(argument.format(**places) for argument in arguments), *model)
    assert done.exit_code == 2
    assert "".join(expected.format(**places).split()) in "".join(done.stderr.split())
    assert not done.stdout
