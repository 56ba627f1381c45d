"""Logs are JSON, one line a request, with its id and nothing that a user sent."""

import json
import logging
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from service.logs import JsonFormatter
from tests.hostile.requests import GOOD, QUERIES
from tests.service.running import b64, examples, running

PRIVATE = "Zebrafish-77"


def test_every_request_is_one_line_of_json_without_what_users_sent(tmp_path: Path) -> None:
    support = [{**example, "label": f"{PRIVATE}-{example['label']}"} for example in examples(GOOD)]
    body = {"examples": support, "name": PRIVATE, "metadata": {PRIVATE: PRIVATE}}
    with running(tmp_path / "data", KSHOT_LOG_LEVEL="debug") as service, service.client() as client:
        created = client.post("/v1/classifiers", json=body, headers={"X-Request-ID": "find-me-1"})
        images = {"images": [b64(QUERIES[0])]}
        client.post(f"{created.headers['location']}/classify", json=images)
        client.post("/v1/classifiers", json={**body, PRIVATE: 1})
        client.post("/v1/classifiers", content=f'{{"{PRIVATE}'.encode(), headers={"Content-Type": "application/json"})
        client.get(f"/v1/classifiers/{PRIVATE}")
        client.get(f"/{PRIVATE}?{PRIVATE}={PRIVATE}")
        client.get("/livez")
        service.stop()
        text = service.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    asked = [line for line in lines if line["logger"] == "service.middleware" and line["route"] != "/readyz"]
    assert [(line["method"], line["route"], line["status"]) for line in asked if line["level"] == "info"] == [
        ("POST", "/v1/classifiers", 201),
        ("POST", "/v1/classifiers/{classifier_id}/classify", 200),
        ("POST", "/v1/classifiers", 422),
        ("POST", "/v1/classifiers", 400),
        ("GET", "/v1/classifiers/{classifier_id}", 404),
        ("GET", "unmatched", 404),
    ]
    (found,) = (line for line in asked if line["request_id"] == "find-me-1")
    assert found["seconds"] > 0
    assert {line["code"] for line in asked if line["status"] == 404} == {"unknown_classifier", "not_found"}
    assert PRIVATE not in text
    assert images["images"][0][:40] not in text


def raise_(error: Exception) -> None:
    raise error


def logged(error: Exception) -> dict[str, object]:
    try:
        raise_(error)
    except Exception as caught:
        record = logging.LogRecord(
            "a", logging.ERROR, "", 1, "failed", (), (type(caught), caught, caught.__traceback__)
        )
    line: dict[str, object] = json.loads(JsonFormatter().format(record))["error"]
    return line


@pytest.mark.parametrize("error", [KeyError(PRIVATE), ValueError(PRIVATE), UnicodeError(PRIVATE), TypeError(PRIVATE)])
def test_an_error_that_quotes_what_it_failed_on_is_logged_without_its_text(error: Exception) -> None:
    line = logged(error)
    assert line["type"] == f"builtins.{type(error).__name__}"
    assert "test_logs.py" in str(line["at"])
    assert PRIVATE not in str(line)


def test_an_error_of_the_machine_is_logged_with_its_text() -> None:
    full = OperationalError(f"INSERT {PRIVATE}", (PRIVATE,), sqlite3.OperationalError("database or disk is full"))
    assert logged(full)["text"] == "database or disk is full"
    assert PRIVATE not in str(logged(full))
    assert logged(OSError(28, "No space left on device"))["text"] == "[Errno 28] No space left on device"


def test_the_cause_of_an_error_is_logged_with_it() -> None:
    error = RuntimeError("the model failed")
    error.__cause__ = KeyError(PRIVATE)
    assert logged(error)["cause"] == {"type": "builtins.KeyError", "at": []}
