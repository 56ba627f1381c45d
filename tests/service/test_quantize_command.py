"""`kshot models quantize`: a model of real digits becomes one in integers, which is verified, served and exported."""

import json
import shutil
from pathlib import Path

import httpx
import onnx
import onnxruntime
import pytest
from typer.testing import CliRunner

from service.app import create_app
from service.cli import app
from service.settings import Settings
from tests.service.running import MODELS, digits, examples, serving, wait_until_answered

NAME = "omniglot-protonet-int8"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantizing")
    shutil.copytree(MODELS / "omniglot-protonet", folder / "models" / "omniglot-protonet")
    for number, (label, data) in enumerate(digits(20)):
        (folder / "data" / label).mkdir(exist_ok=True, parents=True)
        (folder / "data" / label / f"{number}.png").write_bytes(data)
    arguments = ("--data", str(folder / "data"), "--models-dir", str(folder / "models"), "--json")
    done = CliRunner().invoke(app, ["models", "quantize", "omniglot-protonet", *arguments])
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert (card["name"], card["precision"]) == (NAME, "int8")
    assert card["reduced"]["same_answers"] > 95
    return folder / "models"


def test_it_is_whole_and_verified_as_what_it_is(models: Path) -> None:
    done = CliRunner().invoke(app, ["models", "verify", NAME, "--models-dir", str(models)])
    assert done.exit_code == 0, done.output
    assert "8-bit integers" in " ".join(done.stdout.split())


def test_it_answers_as_the_exact_one_does_and_can_be_taken_along(models: Path, tmp_path: Path) -> None:
    support, asked = digits(20), digits(30, start=20)
    queries = [example["image"] for example in examples(asked)]
    settings = Settings(models_dir=models, data_dir=tmp_path, device="cpu")
    with serving(create_app(settings)) as address, httpx.Client(base_url=address, timeout=60) as client:
        wait_until_answered(client)
        answers = {}
        for model in ("omniglot-protonet", NAME):
            made = client.post("/v1/classifiers", json={"model": model, "examples": examples(support)})
            assert made.status_code == 201, made.text
            place = f"/v1/classifiers/{made.json()['id']}"
            answers[model] = client.post(f"{place}/classify", json={"images": queries}).raise_for_status().json()
        assert client.get(f"/v1/models/{NAME}").json()["precision"] == "int8"
        content = client.get(f"{place}/export", params={"format": "onnx"}).raise_for_status().content
    exact, reduced = ([result["prediction"] for result in answers[model]["results"]] for model in answers)
    assert sum(one == other for one, other in zip(exact, reduced, strict=True)) >= 28
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert session.get_outputs()
    quantized = {node.op_type for node in onnx.load_from_string(content).graph.node}
    assert "QuantizeLinear" in quantized
