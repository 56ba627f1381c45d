"""The GPU's benchmark and list of recipes, as far as a CPU can run them."""

import json
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import train_all
from benchmarks.gpu.__main__ import app
from benchmarks.gpu.part import Plan
from benchmarks.gpu.protonet import measure
from benchmarks.gpu.timing import in_turns, ratio
from meta_core.loop import RESUME
from tests.made_up import write_model

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
TINY = ["--device", "cpu", "--tiny", "--rounds", "1", "--seconds", "0.2"]


@NO_GPU
@pytest.mark.parametrize("command", [app, train_all.app], ids=["bench-gpu", "train-gpu"])
def test_without_a_device_one_line_says_so(command: object) -> None:
    done = CliRunner().invoke(command, [])  # type: ignore[arg-type]
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("there is no CUDA device: nothing was ")


def test_every_line_of_the_measurements_runs_on_a_cpu(tmp_path: Path) -> None:
    """Their figures say nothing there, and the targets are missed; what is computed must agree all the same."""
    parts = ["--only", "users", "--only", "maml", "--only", "encode"]
    done = CliRunner().invoke(app, [*TINY, *parts, "--json", str(tmp_path / "figures.json")])
    assert done.exit_code in (0, 1), done.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["about"]["torch"] == version("torch")
    assert figures["parts"]["maml"]["difference"] < 1e-3
    assert figures["parts"]["users"]["users"] == 3
    for each in figures["parts"]["encode"]:
        assert each["ratio"] == pytest.approx(each["engine"] / each["raw"])
        assert f"{each['network']}, {each['precision']}: 0.8 of the raw forward wanted" in done.stdout


def test_data_that_is_not_there_is_told_and_no_target_is_met_by_it(tmp_path: Path) -> None:
    found = measure(Plan("cpu", 1, 0.1, tmp_path, tiny=True))
    assert [verdict.met for verdict in found.verdicts] == [None]
    assert str(tmp_path) in found.verdicts[0].text


def test_runs_have_turns_and_a_first_round_that_does_not_count() -> None:
    order: list[str] = []
    seconds = in_turns({name: lambda name=name: order.append(name) for name in "ab"}, rounds=2, device="cpu")  # type: ignore[misc]
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [len(values) for values in seconds.values()] == [2, 2]
    assert ratio([4.0, 9.0, 8.0], [2.0, 3.0, 4.0]) == 2


def test_every_run_of_the_list_has_a_whole_recipe() -> None:
    recipes = {entry.name: entry.recipe() for entry in train_all.ENTRIES}
    assert len(recipes) == len(train_all.ENTRIES)
    for kind in ("protonet", "maml", "anil", "meta-sgd"):
        published = recipes[f"omniglot-{kind}-vinyals"]
        assert (published.data.train_split, published.test.rotations) == ("vinyals-train", True)
        assert published.data.validation_groups == []
        assert recipes[f"omniglot-{kind}"].data.train_split == "background"
        assert published.learner == recipes[f"omniglot-{kind}"].learner or kind == "protonet"
    assert recipes["omniglot-meta-sgd"].learner.name == "meta_sgd"


def test_a_run_is_packed_small_and_gone_on_from_elsewhere(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "bring").mkdir(parents=True)
    name = "omniglot-anil"
    (here / f"{name}.run").mkdir()
    (here / f"{name}.run" / RESUME).write_bytes(b"half way")
    assert train_all.pack(here, name) == [f"{name}.run/{RESUME}"]
    (there / "bring").mkdir(parents=True)
    archive = there / "bring" / f"{name}.tar.gz"
    archive.write_bytes((here / "bring" / archive.name).read_bytes())
    train_all.unpack(there, name)
    assert (there / f"{name}.run" / RESUME).read_bytes() == b"half way"
    write_model(here / name)
    (here / name / "too-large").write_bytes(bytes(train_all.MOST_BYTES + 1))
    packed = train_all.pack(here, name)
    assert f"{name}/card.json" in packed
    assert f"{name}/too-large" not in packed
    with tarfile.open(here / "bring" / archive.name) as tar:
        assert sorted(tar.getnames()) == sorted(packed)
