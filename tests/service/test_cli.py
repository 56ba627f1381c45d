"""The command line, as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from service.cli import app
from tests.service.running import MODELS, REPOSITORY, digits

MODEL = str(MODELS / "omniglot-protonet")


def kshot(*arguments: str, timeout_seconds: float = 120) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


def said(done: "subprocess.CompletedProcess[str]") -> str:
    return " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def digit_folder(tmp_path: Path) -> Path:
    for number, (label, data) in enumerate(digits(20)):
        file = tmp_path / "digits" / label / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "digits"


def commands(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def test_every_command_teaches_by_an_example() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    names = list(commands(group))
    assert {("serve",), ("predict",), ("doctor",), ("models", "verify"), ("data", "check")} <= set(names)
    for name in names:
        told = CliRunner().invoke(app, [*name, "--help"], prog_name="…")
        assert told.exit_code == 0
        assert f"kshot {' '.join(name)}" in told.output, "an example; the usage has another name here"


def test_a_shell_completes_commands_and_the_models_that_are_there() -> None:
    def completed(words: str) -> set[str]:
        place = {"_KSHOT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        environment = os.environ | place | {"KSHOT_MODELS_DIR": str(MODELS)}
        command = [Path(sys.executable).with_name("kshot")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return set(done.stdout.split())

    assert completed("kshot pre") == {"predict"}
    assert completed("kshot predict --model omniglot-pro") == {
        *("omniglot-proto-logistic", "omniglot-protonet", "omniglot-protonet-vinyals"),
    }
    # As `--show-completion` prints it, which looks for the shell that it is run from.
    shown = subprocess.run(
        [Path(sys.executable).with_name("kshot")],
        env=os.environ | {"_KSHOT_COMPLETE": "source_bash"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "complete -o default -F _kshot_completion kshot" in shown.stdout


def test_evaluate_measures_a_folder_of_ones_own_pictures(digit_folder: Path) -> None:
    done = kshot(
        "evaluate",
        MODEL,
        "--data",
        str(digit_folder),
        "--ways",
        "2",
        "5",
        "--shots",
        "1",
        "5",
        "--episodes",
        "50",
        "--queries",
        "10",
        "--json",
    )
    rows = json.loads(done.stdout)
    assert [(row["ways"], row["shots"]) for row in rows] == [(2, 1), (2, 5), (5, 1), (5, 5)]
    assert rows[0]["accuracy"] > 75
    assert rows[1]["accuracy"] > rows[0]["accuracy"]
    assert all(row["ci95"] > 0 and row["inductive"] for row in rows)


def test_options_with_several_numbers_may_stand_before_the_model(digit_folder: Path) -> None:
    done = kshot(
        "evaluate",
        "--ways",
        "2",
        "3",
        MODEL,
        "--data",
        str(digit_folder),
        "--shots",
        "1",
        "--episodes",
        "5",
        "--queries",
        "3",
    )
    assert done.returncode == 0, done.stderr
    assert "95 % CI" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evaluate", "nowhere", "--data", "nothing.npz"], "nowhere has no card.json"),
        (["evaluate", MODEL, "--data", "nothing.npz"], "nothing.npz does not exist"),
        (["evaluate", MODEL, "--data", ".ci", "--ways", "5"], "holds no picture at class/file"),
        (["train", "no-such-recipe", "--data", "x", "--out", "y"], "omniglot-protonet"),
        (["serve", "--device", "tpu"], "'auto', 'cpu' or 'cuda'"),
    ],
)
def test_a_mistake_is_told_in_a_sentence_not_in_a_traceback(arguments: list[str], told: str) -> None:
    done = kshot(*arguments)
    assert done.returncode == 2
    assert told in said(done)
    assert "Traceback" not in said(done)


def test_too_few_pictures_are_told_with_what_is_there_and_what_is_needed(digit_folder: Path) -> None:
    done = kshot("evaluate", MODEL, "--data", str(digit_folder), "--ways", "5", "--shots", "10", "--queries", "15")
    assert done.returncode == 2
    assert "0 classes have the 25 pictures" in said(done)


@pytest.mark.data
def test_lake_runs_are_measured(data_folder: Path) -> None:
    done = kshot("evaluate", MODEL, "--data", str(data_folder / "omniglot_28_u8.npz"), "--protocol", "lake", "--json")
    (row,) = json.loads(done.stdout)
    assert (row["protocol"], row["ways"], row["episodes"]) == ("lake", 20, 20)
    assert row["accuracy"] >= 94


@pytest.mark.data
def test_the_shipped_model_keeps_the_accuracy_of_its_card(data_folder: Path) -> None:
    """The whole table is `kshot evaluate` with 1000 episodes; 100 are enough to see that something broke."""
    done = kshot("evaluate", MODEL, "--data", str(data_folder / "omniglot_28_u8.npz"), "--episodes", "100", "--json")
    bars = {(5, 1): 98.5, (5, 5): 99.6, (20, 1): 95.5, (20, 5): 98.7}
    for row in json.loads(done.stdout):
        assert row["data"] == "omniglot_28_u8:evaluation"
        assert row["accuracy"] + 2 * row["ci95"] >= bars[row["ways"], row["shots"]]
    assert np.mean([row["accuracy"] for row in json.loads(done.stdout)]) > 97.5


def test_the_demo_classifies_real_digits_over_http() -> None:
    done = kshot("demo", timeout_seconds=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10-way 5-shot accuracy on real handwritten digits" in said(done)
    assert "the stateless call gives the same answers: yes" in said(done)
