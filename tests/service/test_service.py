"""Health, models, errors of the framework, starting and refusing to start."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text

from meta_core.card import Accuracy, Card
from meta_core.errors import InvalidCheckpoint
from service.app import create_app
from service.catalog import Catalog
from service.served import serve
from service.settings import Settings
from tests.made_up import write_model
from tests.service.running import (
    MODELS,
    REPOSITORY,
    Service,
    digits,
    examples,
    running,
    serving,
    start,
    wait_until_ready,
)

DRAWINGS = sorted(model.name for model in MODELS.glob("omniglot-*"))


def test_live_ready_and_version_answer(client: httpx.Client) -> None:
    assert client.get("/livez").json() == {"status": "live"}
    assert client.get("/readyz").json()["models"] == DRAWINGS
    version = client.get("/version").json()
    assert version["default_model"] == "omniglot-protonet"
    assert {"body_bytes", "files", "file_bytes", "pixels", "ways", "examples"} <= set(version["limits"])


def test_a_model_card_says_what_a_user_chooses_by(client: httpx.Client) -> None:
    page = client.get("/v1/models").json()
    assert [card["name"] for card in page["data"]] == DRAWINGS
    (card,) = (card for card in page["data"] if card["name"] == "omniglot-protonet")
    assert (page["has_more"], page["next_cursor"]) == (False, None)
    assert client.get("/v1/models/omniglot-protonet").json() == card
    assert card["default"] is True
    assert card["licence"] == "Apache-2.0"
    assert card["calibration"] is None
    assert card["state_bytes"]["per_way"] > 0
    assert {(row["ways"], row["shots"]) for row in card["accuracy"] if row["protocol"] == "episodes"} == {
        (5, 1),
        (5, 5),
        (20, 1),
        (20, 5),
    }
    assert all(row["ci95"] > 0 and row["inductive"] for row in card["accuracy"])


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/nothing", 404, "not_found", None),
        ("GET", "/v1/models/nothing", 404, "unknown_model", None),
        ("GET", "/v1/classifiers/nothing", 404, "unknown_classifier", None),
        ("PUT", "/v1/classifiers", 405, "method_not_allowed", "GET, POST"),
        ("POST", "/livez", 405, "method_not_allowed", "GET"),
        ("GET", "/v1/classify", 405, "method_not_allowed", "POST"),
    ],
)
def test_errors_are_problem_documents(
    client: httpx.Client, method: str, path: str, status: int, code: str, allow: str | None
) -> None:
    answer = client.request(method, path)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:kshot:problem:{code}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert answer.headers.get("allow") == allow


def test_an_error_nobody_foresaw_is_found_in_the_log_by_its_request_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(Settings(models_dir=MODELS, data_dir=tmp_path / "data", device="cpu"))

    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("secret detail")

    with serving(app) as url:
        answer = httpx.get(f"{url}/broken", headers={"X-Request-ID": "find-me-7"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "find-me-7"
    assert "secret" not in answer.text
    assert "request find-me-7: GET /broken failed" in caplog.text


def test_a_request_id_is_echoed_unless_it_could_forge_a_log_line(client: httpx.Client) -> None:
    assert client.get("/livez", headers={"X-Request-ID": "mine-42"}).headers["x-request-id"] == "mine-42"
    made = client.get("/livez", headers={"X-Request-ID": "two words"}).headers["x-request-id"]
    assert made != "two words"


def test_a_second_service_on_the_same_data_refuses_and_says_why(service: Service, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as first:
        second = subprocess.run(
            [sys.executable, "-m", "service", "serve", "--data-dir", str(data), "--port", "0"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 2
        said = " ".join(second.stderr.split())
        assert f"in use by process {first.process.pid}" in said
        assert "--data-dir" in said
        assert "Traceback" not in said


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with running(tmp_path / "data") as first:
        first.stop()
    engine = create_engine(f"sqlite:///{tmp_path / 'data' / 'kshot.sqlite3'}")
    with engine.begin() as connection:
        connection.execute(text("PRAGMA user_version = 99"))
    engine.dispose()
    second = start(tmp_path / "data", wait=False)
    assert second.process.wait(timeout=60) != 0
    assert "schema 99" in second.log.read_text()


def test_a_damaged_model_does_not_keep_the_others_from_serving(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(MODELS / "omniglot-protonet", models / "good")
    shutil.copytree(MODELS / "omniglot-protonet", models / "bad")
    weights = models / "bad" / "learner.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with running(tmp_path / "data", models_dir=models) as started, started.client() as client:
        ready = client.get("/readyz").json()
        assert ready["models"] == ["omniglot-protonet"]
        assert "learner.safetensors" in ready["damaged_models"]["bad"]


def test_without_a_model_the_service_lives_and_says_what_is_missing(tmp_path: Path) -> None:
    started = start(tmp_path / "data", models_dir=tmp_path / "none", wait=False)
    try:
        wait_until_ready(started, path="/livez")
        with started.client() as client:
            while "loading" in (ready := client.get("/readyz")).json()["detail"]:
                time.sleep(0.05)
            created = client.post("/v1/classifiers", json={"examples": examples(digits(1))})
    finally:
        started.kill()
    assert ready.status_code == created.status_code == 503
    assert ready.json()["code"] == created.json()["code"] == "not_ready"
    assert int(created.headers["retry-after"]) > 0
    assert "no model was found in 'none'" in created.json()["detail"]


def test_a_classifier_of_a_version_that_is_gone_is_a_conflict(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(MODELS / "omniglot-protonet", models / "omniglot-protonet")
    with running(tmp_path / "data", models_dir=models) as started, started.client() as client:
        created = client.post("/v1/classifiers", json={"examples": examples(digits(1))}).json()
        started.stop()
    card = models / "omniglot-protonet" / "card.json"
    card.write_text(card.read_text().replace('"version": "1.0.0"', '"version": "2.0.0"'))
    with running(tmp_path / "data", models_dir=models) as started, started.client() as client:
        images = [example["image"] for example in examples(digits(1))]
        answer = client.post(f"/v1/classifiers/{created['id']}/classify", json={"images": images})
    assert (answer.status_code, answer.json()["code"]) == (409, "model_version_missing")
    assert "1.0.0" in answer.json()["detail"]
    assert "2.0.0" in answer.json()["detail"]


def test_a_model_whose_answers_depend_on_other_queries_is_not_served(tmp_path: Path) -> None:
    row = Accuracy(data="made-up", ways=5, shots=1, queries=15, episodes=10, accuracy=99.0, ci95=1.0, inductive=False)
    write_model(tmp_path / "papers")
    path = tmp_path / "papers" / "card.json"
    card = Card.model_validate_json(path.read_bytes())
    path.write_text(card.model_copy(update={"accuracy": [row]}).model_dump_json())
    with pytest.raises(InvalidCheckpoint, match="papers: it was trained to normalize by the batch"):
        serve(tmp_path / "papers", device="cpu", threads=1)


@pytest.mark.parametrize(("names", "default"), [(("b", "a"), "a"), (("a", "photos"), "photos")])
def test_the_usual_model_is_the_default_or_else_the_first_by_name(
    tmp_path: Path, names: tuple[str, ...], default: str
) -> None:
    for name in names:
        write_model(tmp_path / name)
    catalog = Catalog()
    catalog.load(tmp_path, device="cpu", threads=1)
    assert catalog.choose(None)[0].card.name == default
    catalog.close()


def test_models_are_listed_page_by_page(client: httpx.Client) -> None:
    names, cursor = list[str](), None
    while True:
        page = client.get("/v1/models", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        names += [card["name"] for card in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == DRAWINGS
    assert client.get("/v1/models", params={"cursor": "bm9uZQ=="}).json()["code"] == "invalid_cursor"
