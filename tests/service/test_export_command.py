"""`kshot export`: from a data folder and from a running service, and the file asked by `kshot predict`."""

import json
from pathlib import Path
from typing import Any

import httpx
import onnxruntime
import pytest
from click.testing import Result
from typer.testing import CliRunner

from service.app import create_app
from service.cli import app
from service.settings import Settings
from tests.service.running import (
    Service,
    assert_same,
    digits,
    drawings,
    examples,
    probabilities,
    serving,
    wait_until_answered,
)

QUERIES = digits(1, start=50, labels=(0, 1, 2))


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=environment)


@pytest.fixture(scope="module")
def made(service: Service) -> dict[str, Any]:
    body = {"model": "omniglot-protonet", "examples": examples(digits(3, labels=(0, 1, 2)))}
    answer: dict[str, Any] = httpx.post(f"{service.url}/v1/classifiers", json=body, timeout=60).json()
    return answer


def test_both_ways_give_a_file_that_answers_as_the_service(
    service: Service, made: dict[str, Any], tmp_path: Path
) -> None:
    ways = (["--data-dir", str(service.log.parent / "data")], ["--url", service.url])
    for number, (_, data) in enumerate(QUERIES):
        (tmp_path / f"{number}.png").write_bytes(data)
    queries = [argument for number in range(3) for argument in ("--queries", str(tmp_path / f"{number}.png"))]
    images = {"images": [each["image"] for each in examples(QUERIES)]}
    there = httpx.post(f"{service.url}/v1/classifiers/{made['id']}/classify", json=images, timeout=60).json()
    for way in ways:
        file = tmp_path / "mine.safetensors"
        done = run("export", made["id"], "--out", str(file), *way)
        assert done.exit_code == 0, done.output
        here = run("predict", "--support", str(file), *queries, "--json")
        assert here.exit_code == 0, here.output
        assert_same(probabilities(json.loads(here.stdout)), probabilities(there))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png", "2.png", "mine.safetensors"]


def test_it_is_written_as_onnx_from_the_data_folder(service: Service, made: dict[str, Any], tmp_path: Path) -> None:
    place = ["--data-dir", str(service.log.parent / "data")]
    done = run("export", made["id"], "--out", str(tmp_path / "mine.onnx"), "--format", "onnx", *place)
    assert done.exit_code == 0, done.output
    session = onnxruntime.InferenceSession(tmp_path / "mine.onnx", providers=["CPUExecutionProvider"])
    told = json.loads(session.get_modelmeta().custom_metadata_map["kshot"])
    assert told["labels"] == ["0", "1", "2"]


def test_a_key_is_asked_for_and_taken_from_the_environment(tmp_path: Path) -> None:
    data = tmp_path / "data"
    key = run("keys", "create", "laptop", "--data-dir", str(data)).stdout.strip()
    settings = Settings(models_dir=drawings(), data_dir=data, device="cpu", default_model="omniglot-protonet")
    with serving(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        wait_until_answered(client)
        headers = {"X-API-Key": key}
        body = {"examples": examples(digits(1, labels=(0, 1)))}
        made = client.post("/v1/classifiers", json=body, headers=headers).json()
        asked = ("export", made["id"], "--url", url, "--out", str(tmp_path / "mine.safetensors"))
        refused = run(*asked)
        assert refused.exit_code == 2
        assert "give --key, or KSHOT_KEY" in " ".join(refused.stderr.split())
        assert run(*asked, KSHOT_KEY=key).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data-dir", "{tmp}"], "holds no classifiers"),
        (["--data-dir", "{data}"], "no classifier"),
        (["--url", "{url}"], "the service answered 404"),
        (["--url", "http://127.0.0.1:9"], "does not answer"),
        (["--url", "127.0.0.1:9"], "does not answer"),
        (["--url", "{url}", "--out", "{tmp}/nowhere/x"], "its folder does not exist"),
    ],
)
def test_a_mistake_is_told_in_a_sentence_and_nothing_is_written(
    arguments: list[str], told: str, service: Service, tmp_path: Path
) -> None:
    places = {"tmp": tmp_path, "data": service.log.parent / "data", "url": service.url}
    filled = [argument.format(**places) for argument in arguments]
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "x")]
    done = run("export", "clf_000000000000000000000000", *filled, *out)
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())
