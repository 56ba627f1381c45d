"""`kshot models`: a backbone with random weights becomes a model that serves; nothing here asks the network."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import safetensors.torch
import timm
import torch
from click.testing import Result
from typer.testing import CliRunner

from meta_core.checkpoint import load, read_card, rewrite_card, sha256
from service.app import create_app
from service.cli import app
from service.settings import Settings
from tests.service.running import REPOSITORY, digits, examples, serving
from tests.service.test_cli import kshot, said


def run(*arguments: str) -> Result:
    """In this process: a new one takes seconds to import torch and timm."""
    return CliRunner().invoke(app, ["models", *arguments])


def told_by(result: Result) -> str:
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        safetensors.torch.save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    for number, (label, data) in enumerate(digits(4)):
        (folder / label).mkdir(exist_ok=True)
        (folder / label / f"{number}.png").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def added(weights: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of models, and what the command said."""
    models = tmp_path_factory.mktemp("models")
    done = kshot(
        *("models", "add", "timm:test_resnet", "--weights", str(weights), "--name", "mine", "--size", "32"),
        *("--models-dir", str(models), "--data", str(pictures), "--head", "protonet"),
    )
    assert done.returncode == 0, done.stderr
    return models, said(done)


def test_one_command_makes_a_model_that_serves(added: tuple[Path, str]) -> None:
    models, told = added
    assert {file.name for file in (models / "mine").iterdir()} == {
        *("card.json", "learner.safetensors", "encoder.onnx", "README.md"),
    }
    assert "loading it as the service does" in told
    assert "uncalibrated" in told
    assert '"model": "mine"' in told


def test_its_card_is_honest(added: tuple[Path, str], weights: Path) -> None:
    card = read_card(added[0] / "mine")
    assert card.training is None
    assert card.calibration is None
    assert card.origin is not None
    assert "weights.safetensors" in card.origin
    assert str(weights.parent) not in card.model_dump_json(), "a path of this machine"
    assert card.licence == "unknown"
    assert card.backbone.options == {"model": "test_resnet"}
    assert card.input.shape == (3, 32, 32)
    assert card.input.mean == (0.5, 0.5, 0.5)
    assert "Not meta-trained" in (added[0] / "mine" / "README.md").read_text("utf-8")


def test_what_the_pictures_allow_is_measured_and_the_rest_told(added: tuple[Path, str]) -> None:
    (row,) = read_card(added[0] / "mine").accuracy
    assert (row.ways, row.shots, row.queries) == (5, 1, 3)
    assert "5 shot(s): not measured" in added[1]


def test_its_weights_are_the_files(added: tuple[Path, str], weights: Path) -> None:
    found = load(added[0] / "mine").learner.state_dict()
    given = safetensors.torch.load_file(weights)
    assert (found["backbone.network.layer4.0.conv1.weight"] == given["layer4.0.conv1.weight"]).all()


def test_models_are_listed_and_shown(added: tuple[Path, str]) -> None:
    listed = run("list", "--models-dir", str(added[0]), "--json")
    assert [card["name"] for card in json.loads(listed.stdout)] == ["mine"]
    assert "mine" in told_by(run("list", "--models-dir", str(added[0])))
    assert "Not meta-trained" in told_by(run("show", "mine", "--models-dir", str(added[0])))


def test_a_card_is_shown_for_programs_too(added: tuple[Path, str]) -> None:
    assert json.loads(run("show", "mine", "--models-dir", str(added[0]), "--json").stdout)["name"] == "mine"


def test_verify_tells_the_whole_from_the_damaged(added: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(added[0] / "mine", tmp_path / "mine")
    for name, file in (("weights", "learner.safetensors"), ("graph", "encoder.onnx"), ("card", "card.json")):
        shutil.copytree(added[0] / "mine", tmp_path / name)
        damaged = tmp_path / name / file
        damaged.write_bytes(damaged.read_bytes()[:-2])
    done = run("verify", "--models-dir", str(tmp_path), "--json")
    assert done.exit_code == 1
    told = {model["name"]: {step["name"]: step for step in model["steps"]} for model in json.loads(done.stdout)}
    assert [step["status"] for step in told["mine"].values()] == ["ok", "ok", "ok", "ok", "note"]
    assert list(told["mine"]) == ["card", "files", "forward", "onnx", "calibration"]
    assert "learner.safetensors is damaged" in told["weights"]["files"]["found"]
    assert "encoder.onnx is damaged" in told["graph"]["files"]["found"]
    assert told["card"]["card"]["status"] == "wrong"
    alone = run("verify", "mine", "--models-dir", str(tmp_path))
    assert alone.exit_code == 0
    assert "features as torch's" in told_by(alone)


def test_verify_finds_a_graph_that_says_something_else_than_the_network(
    added: tuple[Path, str], tmp_path: Path
) -> None:
    """Its hash is the card's: whoever exported it wrongly wrote that too."""
    shutil.copytree(added[0] / "mine", tmp_path / "mine")
    graph = onnx.load(tmp_path / "mine" / "encoder.onnx")
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.raw_data:
            tensor.raw_data = (np.frombuffer(tensor.raw_data, np.float32) * np.float32(1.1)).tobytes()
    onnx.save(graph, tmp_path / "mine" / "encoder.onnx")
    card = read_card(tmp_path / "mine")
    files = card.files | {"encoder.onnx": sha256(tmp_path / "mine" / "encoder.onnx")}
    rewrite_card(tmp_path / "mine", card.model_copy(update={"files": files}))
    done = run("verify", "--models-dir", str(tmp_path))
    assert done.exit_code == 1
    assert "differ from torch's" in told_by(done)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["verify", "nothing"], "holds no model nothing"),
        (["show", "nothing"], "holds no model 'nothing'"),
        (["add", "resnet10t"], "expected timm:NAME"),
        (["add", "timm:test_resnot"], "did you mean"),
        (["add", "timm:test_resnet", "--weights", "nowhere.pth"], "no file of weights nowhere.pth"),
        (["add", "timm:test_resnet", "--head", "fine_tuning"], "adapts the whole network"),
        (["list", "--models-dir", "docs"], "docs holds no model"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(arguments: list[str], told: str, tmp_path: Path) -> None:
    folder = [] if "--models-dir" in arguments else ["--models-dir", str(tmp_path)]
    done = run(*arguments, *folder)
    assert done.exit_code == 2
    assert told in told_by(done)
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_there_is_not_written_over(added: tuple[Path, str]) -> None:
    done = run("add", "timm:test_resnet", "--name", "mine", "--models-dir", str(added[0]))
    assert done.exit_code == 2
    assert "is there already" in told_by(done)


def offline(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`kshot models add` where the hub's own library keeps to what `home` has of it."""
    return subprocess.run(
        [sys.executable, "-m", "service", "models", "add", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home)},
    )


def test_without_a_network_the_hub_is_told_with_what_to_do(tmp_path: Path) -> None:
    done = offline(tmp_path, "timm:test_resnet", "--models-dir", str(tmp_path / "models"))
    assert done.returncode == 2
    assert "could not be had from the hub" in said(done)
    assert "model.safetensors of timm/test_resnet.r160_in1k" in said(done)
    assert "Traceback" not in said(done)


def test_what_was_downloaded_from_the_hub_once_is_taken(weights: Path, tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    (cached / "snapshots" / ("0" * 40)).mkdir(parents=True)
    shutil.copy(weights, cached / "snapshots" / ("0" * 40) / "model.safetensors")
    done = offline(tmp_path, "timm:test_resnet", "--size", "32", "--models-dir", str(tmp_path / "models"))
    assert done.returncode == 0, done.stderr
    model = load(tmp_path / "models" / "test_resnet")
    given = safetensors.torch.load_file(weights)
    assert (
        model.learner.state_dict()["backbone.network.layer4.0.conv1.weight"] == given["layer4.0.conv1.weight"]
    ).all()
    assert model.card.origin == "timm/test_resnet.r160_in1k of the Hugging Face hub (apache-2.0 licence)"
    assert model.card.licence == "apache-2.0"


def test_it_is_served_as_uncalibrated(added: tuple[Path, str], tmp_path: Path) -> None:
    settings = Settings(models_dir=added[0], data_dir=tmp_path / "data", device="cpu")
    with serving(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        card = client.get("/v1/models/mine").json()
        assert card["training"] is None
        assert "weights.safetensors" in card["origin"]
        shown = examples(digits(2))
        answer = client.post("/v1/classify", json={"examples": shown, "images": [shown[0]["image"]]}).json()
        assert answer["calibrated"] is False
        assert answer["results"][0]["prediction"] == shown[0]["label"]


def test_help_teaches_by_examples() -> None:
    told = told_by(run("add", "--help"))
    assert "kshot models add timm:tf_efficientnet_lite0" in told
    assert "--weights" in told
