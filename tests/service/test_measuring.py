"""`kshot evaluate` and `kshot compare`: what they take, what they print, and how they refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from service.cli import app
from tests.service.running import MODELS, digits

MODEL = str(MODELS / "omniglot-protonet")
SMALL = ("--shots", "1", "--episodes", "3", "--queries", "2")


@pytest.fixture(scope="module")
def digit_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("digits")
    for number, (label, data) in enumerate(digits(7)):
        file = folder / label / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    return str(folder)


@pytest.fixture
def evaluate(digit_folder: str) -> Callable[..., Result]:
    return lambda *more: CliRunner().invoke(app, ["evaluate", MODEL, "--data", digit_folder, *more])


@pytest.fixture
def compare(digit_folder: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.delenv("COLUMNS", raising=False)  # tests in parallel inherit a narrow terminal
    arguments = ["compare", "--data", digit_folder, "--models-dir", str(MODELS), "--model", "omniglot-protonet"]
    return lambda *more: CliRunner().invoke(app, [*arguments, *more])


def words(text: str) -> str:
    return " ".join(text.split())


def rows(done: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_help_says_what_the_options_are_for() -> None:
    told = {command: words(CliRunner().invoke(app, [command, "--help"]).stdout) for command in ("evaluate", "compare")}
    assert all(option in told["evaluate"] for option in ("--transductive", "--rotations", "--steps", "--rate"))
    assert all(option in told["compare"] for option in ("--budget-seconds", "--models-dir", "--model", "--json"))
    assert "Which model should I use?" in told["compare"]


def test_rows_are_inductive_unless_asked_otherwise(evaluate: Callable[..., Result]) -> None:
    (row,) = rows(evaluate("--ways", "5", *SMALL, "--json"))
    assert (row["inductive"], row["mode"]) == (True, "inductive")
    (row,) = rows(evaluate("--ways", "5", *SMALL, "--json", "--transductive"))
    assert (row["inductive"], row["mode"]) == (False, "transductive")


def test_the_table_says_transductive_and_what_that_is(evaluate: Callable[..., Result]) -> None:
    plain, other = evaluate("--ways", "5", *SMALL), evaluate("--ways", "5", *SMALL, "--transductive")
    assert "transductive" not in plain.stdout
    assert "transductive: batch norm by the statistics of an episode's pictures" in words(other.stdout)


def test_rotations_make_four_classes_of_one(evaluate: Callable[..., Result]) -> None:
    (row,) = rows(evaluate("--ways", "30", *SMALL, "--json", "--rotations"))
    assert (row["ways"], "with rotations as classes" in row["data"]) == (30, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--ways", "30"], "has 10 classes; 30 ways need as many"),
        (["--steps", "3"], "no adaptation option 'steps'"),
        (["--rotations", "--protocol", "lake"], "Lake's runs have no rotations"),
    ],
)
def test_evaluate_refuses_in_a_sentence(evaluate: Callable[..., Result], arguments: list[str], told: str) -> None:
    done = evaluate(*SMALL, *arguments)
    assert done.exit_code == 2
    assert told in words(done.stderr)


def test_compare_prints_a_table_a_note_and_one_sentence_of_advice(compare: Callable[..., Result]) -> None:
    done = compare("--ways", "3", "--shots", "2", "--episodes", "2")
    assert done.exit_code == 0, done.stderr
    told = words(done.stdout)
    assert "3 ways, 2 shots, 5 queries a class" in told
    assert all(name in told for name in ("linear_probe on omniglot-protonet", "fine_tuning", "protonet"))
    assert "note: asked 5 queries a class, not 15" in told
    assert "cannot be told from the best: the 95 % CI of the mean difference" in told
    assert told.count("use ") == 1
    assert "comparing" in done.stderr, "progress goes to standard error"


def test_compare_as_json_has_all_that_the_table_has(compare: Callable[..., Result], tmp_path: Path) -> None:
    found = json.loads(compare("--ways", "3", "--shots", "2", "--episodes", "2", "--json").stdout)
    assert found["plan"] == {"ways": 3, "shots": 2, "queries": 5, "episodes": 2, "seed": 0}
    assert found["advice"].startswith("use ")
    row = next(row for row in found["rows"] if row["name"] == "omniglot-protonet")
    assert row["shipped"]
    assert row["state_bytes"] == 3 * 576 * 4
    assert {"accuracy", "ci95", "episodes", "behind", "behind_ci95", "tied", "adapt_ms", "query_ms"} <= row.keys()


def test_compare_on_several_data_tells_the_mean_held_against_one(
    compare: Callable[..., Result], digit_folder: str
) -> None:
    asked = ["--data", digit_folder, "--ways", "3", "--shots", "2", "--episodes", "2", "--against", "omniglot-protonet"]
    found = json.loads(compare(*asked, "--json").stdout)
    (one, two), mean = found["comparisons"], found["mean"]
    assert one["rows"] != mean
    assert {row["name"] for row in mean} == {row["name"] for row in one["rows"]} == {row["name"] for row in two["rows"]}
    assert next(row for row in mean if row["name"] == "omniglot-protonet")["behind"] == 0
    told = words(compare(*asked).stdout)
    assert "mean of" in told
    assert "behind omniglot-protonet" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--ways", "11"], "has 10 classes; 11 ways need as many. Ask for fewer ways, or add classes"),
        (["--shots", "7"], "7 shots and at least 1 queries need 8 a class"),
        (["--model", "mine"], "has no model mine; it has: "),
        (["--data", "nothing.zip"], "nothing.zip does not exist"),
        (["--models-dir", ".ci"], "has no model omniglot-protonet; it has: none"),
    ],
)
def test_compare_refuses_in_a_sentence(compare: Callable[..., Result], arguments: list[str], told: str) -> None:
    done = compare(*arguments)
    assert done.exit_code == 2
    assert told in words(done.stderr)


@pytest.mark.data
def test_the_papers_mode_is_another_figure_on_foreign_pictures(data_folder: Path) -> None:
    """The statistics of hand signs are not those of characters: the batch's own help, which is what the mode is."""
    asked = ["evaluate", MODEL, "--data", str(data_folder / "sign_digits.zip"), "--ways", "5", "--shots", "5"]
    asked += ["--episodes", "6", "--json"]
    (plain,), (other,) = (rows(CliRunner().invoke(app, [*asked, *more])) for more in ([], ["--transductive"]))
    assert other["accuracy"] != plain["accuracy"]
    assert other["accuracy"] > 40
