"""A creating request that is sent again creates nothing again: `Idempotency-Key`, over real HTTP."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.running import MODELS, Service, digits, examples, running
from tests.service.test_classifiers import files

PAIRS = digits(2, labels=(3, 4))
BODY = {"name": "mine", "examples": examples(PAIRS)}
JSON = {"Content-Type": "application/json"}
KEY = {"Idempotency-Key": "7f9c24e8-3b12"}


@pytest.fixture
def count(client: httpx.Client) -> Callable[[], int]:
    """How many classifiers were made since the test began."""

    def ids() -> set[str]:
        found, cursor = set[str](), None
        while True:
            page = client.get("/v1/classifiers", params={"limit": 100} | ({"cursor": cursor} if cursor else {})).json()
            found |= {one["id"] for one in page["data"]}
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    before = ids()
    return lambda: len(ids() - before)


def test_a_creation_sent_again_is_given_the_first_answer(client: httpx.Client, count: Callable[[], int]) -> None:
    first = client.post("/v1/classifiers", json=BODY, headers=KEY)
    assert client.delete(first.headers["location"]).status_code == 204
    reordered = {"examples": BODY["examples"], "name": "mine"}
    again = client.post("/v1/classifiers", json=reordered, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert [again.headers[name] for name in ("location", "etag")] == [
        first.headers[name] for name in ("location", "etag")
    ]
    assert (again.headers["idempotency-replayed"], "idempotency-replayed" in first.headers) == ("true", False)
    assert count() == 0
    other = client.post("/v1/classifiers", json=BODY | {"name": "other"}, headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    elsewhere = client.post("/v1/classifiers/clf_1/examples", json={"examples": BODY["examples"]}, headers=KEY)
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (422, "idempotency_mismatch")


def test_a_form_is_the_same_whatever_its_boundary(client: httpx.Client, count: Callable[[], int]) -> None:
    def send(boundary: str, pairs: list[tuple[str, bytes]] = PAIRS) -> httpx.Response:
        headers = {"Idempotency-Key": "a-form", "Content-Type": f"multipart/form-data; boundary={boundary}"}
        form = {"labels": [label for label, _ in PAIRS]}
        return client.post("/v1/classifiers/upload", files=files("files", pairs), data=form, headers=headers)

    assert send("one").json() == send("other").json()
    assert send("other", PAIRS[::-1]).json()["code"] == "idempotency_mismatch"
    assert count() == 1


def test_examples_are_added_once(client: httpx.Client) -> None:
    place = client.post("/v1/classifiers", json=BODY).headers["location"]
    answers = [
        client.post(f"{place}/examples", json={"examples": BODY["examples"]}, headers={"Idempotency-Key": "add"})
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert client.get(place).json()["examples"] == 8


def test_a_request_that_was_refused_may_be_sent_again_with_its_key(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "refused-first"}
    wrong = {"examples": BODY["examples"][:1]}
    assert client.post("/v1/classifiers", json=wrong, headers=headers).status_code == 422
    assert client.post("/v1/classifiers", content=b"{", headers=headers | JSON).status_code == 400
    assert client.post("/v1/classifiers", json=BODY, headers=headers).status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é"])
def test_a_key_that_is_none_is_refused(client: httpx.Client, key: str) -> None:
    answer = client.post("/v1/classifiers", json=BODY, headers={"Idempotency-Key": key.encode()})
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]


def test_of_the_same_creation_sent_at_once_one_is_made(
    client: httpx.Client, service: Service, count: Callable[[], int]
) -> None:
    answers = list[dict[str, Any]]()

    def send() -> None:
        with service.client() as mine:
            answers.append(mine.post("/v1/classifiers", json=BODY, headers={"Idempotency-Key": "at-once"}).json())

    senders = [threading.Thread(target=send) for _ in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert all(answer == answers[0] for answer in answers)
    assert count() == 1


def test_a_key_is_remembered_by_the_next_process_and_expired_classifiers_are_swept(tmp_path: Path) -> None:
    data, models = tmp_path / "data", tmp_path / "models"
    models.mkdir()
    (models / "omniglot-protonet").symlink_to(MODELS / "omniglot-protonet")
    with running(data, models_dir=models) as service, service.client() as client:
        first = client.post("/v1/classifiers", json=BODY | {"ttl_seconds": 1}, headers=KEY).json()
    with running(data, models_dir=models, KSHOT_SWEEP_SECONDS="0.2") as service, service.client() as client:
        again = client.post("/v1/classifiers", json=BODY | {"ttl_seconds": 1}, headers=KEY)
        assert again.json() == first
        assert client.get(f"/v1/classifiers/{first['id']}").status_code == 404
        client.post("/v1/classifiers", json=BODY | {"ttl_seconds": 1})
        rows, tries = 1, 100
        while rows and tries:
            threading.Event().wait(0.1)
            tries -= 1
            with sqlite3.connect(data / "kshot.sqlite3") as database:
                ((rows,),) = database.execute("SELECT count(*) FROM classifiers").fetchall()
            database.close()
        assert rows == 0
