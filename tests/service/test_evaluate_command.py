"""`kshot train` and `kshot evaluate` on a regression and on a model that learned by heart, as a user runs them."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from meta_core import checkpoint
from meta_core.card import Part
from meta_core.train_regression import train_regression
from service.cli import app
from tests.made_up import SPEC, write_model, write_npz
from tests.meta_core.test_train_regression import one_wave, three_steps, tiny


def kshot(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "tiny-waves"
    train_regression(tiny(), out=out, device="cpu")
    return out


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("data") / "made.npz")


def test_a_regression_is_measured_before_and_after_its_steps(waves: Path) -> None:
    rows = json.loads(kshot("evaluate", str(waves), "--shots", "5", "--episodes", "20", "--json").stdout)
    assert [row["steps"] for row in rows] == [0, 1, 2, 10]
    assert {(row["shots"], row["episodes"]) for row in rows} == {(5, 20)}
    assert all(row["error"] > 0 and row["ci95"] > 0 for row in rows)
    table = kshot("evaluate", str(waves), "--episodes", "10", "--steps", "2")
    assert table.exit_code == 0
    assert "squared error" in table.stdout
    assert "memorization check: tasks of training are missed by" in " ".join(table.stderr.split())


def test_a_regression_that_takes_no_steps_is_measured_as_it_is(tmp_path: Path) -> None:
    train_regression(three_steps("mr_cnp"), out=tmp_path / "waves", device="cpu")
    (row,) = json.loads(kshot("evaluate", str(tmp_path / "waves"), "--episodes", "5", "--json").stdout)
    assert (row["shots"], row["steps"]) == (5, None)
    refused = kshot("evaluate", str(tmp_path / "waves"), "--steps", "2")
    assert refused.exit_code != 0
    assert "no adaptation option 'steps'" in refused.stderr


def test_a_regression_that_knows_its_tasks_by_heart_is_told_with_exit_code_1(tmp_path: Path) -> None:
    train_regression(one_wave(), out=tmp_path / "wave", device="cpu")
    done = kshot("evaluate", str(tmp_path / "wave"), "--episodes", "5")
    assert done.exit_code == 1
    assert "squared error" in done.stdout
    assert "the model goes by what it learned by heart, not by its examples" in " ".join(done.stderr.split())


def test_a_regression_needs_no_data_and_pictures_do(waves: Path, pictures: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "classifies")
    for arguments, told in (
        (("evaluate", str(waves), "--data", str(pictures)), "generates its tasks; leave --data out"),
        (("evaluate", str(tmp_path / "classifies")), "say with --data where labelled pictures are"),
        (
            ("train", "sinusoid-maml", "--data", str(pictures), "--out", str(tmp_path / "x")),
            "leave --data and --unlabelled out",
        ),
        (("train", "omniglot-protonet", "--out", str(tmp_path / "x")), "give --data, or --unlabelled"),
    ):
        done = kshot(*arguments)
        assert done.exit_code == 2
        assert told in " ".join(done.output.split())


def test_a_model_that_learned_by_heart_is_told_with_exit_code_1(pictures: Path, tmp_path: Path) -> None:
    learner, backbone = Part(name="network_maml", options={"rate": 0.001}), Part(name="mlp", options={"outputs": 5})
    built = checkpoint.build_learner(learner, backbone, SPEC)
    with torch.no_grad():
        built.backbone[-1].bias.copy_(torch.linspace(50, 0, 5))  # type: ignore[index, union-attr, operator]
    write_model(tmp_path / "fair")
    training = checkpoint.read_card(tmp_path / "fair").training
    described = {"name": "by-heart", "version": "1.0.0", "description": "Made up.", "licence": "Apache-2.0"}
    parts = {"learner": learner, "backbone": backbone, "input": SPEC, "training": training}
    checkpoint.save(tmp_path / "by-heart", built, description=described | parts)
    asked = ["--data", str(pictures), "--ways", "2", "--shots", "1", "--queries", "2", "--episodes", "10"]
    done = kshot("evaluate", str(tmp_path / "by-heart"), *asked)
    assert done.exit_code == 1
    assert "100.0 % stayed: the model goes by what it learned by heart" in " ".join(done.output.split())
    fair = kshot("evaluate", str(tmp_path / "fair"), *asked)
    assert fair.exit_code == 0
    assert "the examples decide" in " ".join(fair.output.split())
