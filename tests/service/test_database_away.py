"""Two replicas on one PostgreSQL that both are asked the same, and what they say while it is away."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.service.postgres import Place, Server, postgres_server
from tests.service.running import MODELS, digits, examples, running
from tests.service.test_changing import create

PAIRS = digits(2, labels=(3, 4))
EXTRA = digits(6, start=10, labels=(8,))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of its own, which may be stopped."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def replicas(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[httpx.Client]]:
    folder = tmp_path_factory.mktemp("replicas")
    models = folder / "models"
    models.mkdir()
    (models / "omniglot-protonet").symlink_to(MODELS / "omniglot-protonet")
    environment = Place(folder, server.new_database()).environment
    with (
        running(folder / "one", models_dir=models, **environment) as one,
        running(folder / "other", models_dir=models, **environment) as other,
        one.client() as first,
        other.client() as second,
    ):
        yield [first, second]


def test_of_changes_by_both_at_once_none_is_lost_and_one_key_creates_once(replicas: list[httpx.Client]) -> None:
    made = create(replicas[0], PAIRS)
    answers = list[dict[str, Any]]()

    def add(number: int) -> None:
        body = {"examples": examples([EXTRA[number]])}
        added = replicas[number % 2].post(f"/v1/classifiers/{made['id']}/examples", json=body)
        again = replicas[number % 2].post(
            "/v1/classifiers", json={"examples": examples(PAIRS)}, headers={"Idempotency-Key": "one"}
        )
        assert added.status_code == 201, added.text
        answers.append(again.json())

    writers = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = [replica.get(f"/v1/classifiers/{made['id']}").json() for replica in replicas]
    assert found[0] == found[1]
    assert (found[0]["examples"], found[0]["revision"]) == (len(PAIRS) + 6, 7)
    assert answers == [answers[0]] * 6


def test_while_the_database_is_away_answers_say_so_and_when_it_is_back_all_is_as_before(
    replicas: list[httpx.Client], server: Server
) -> None:
    first = replicas[0]
    made = create(first, PAIRS)
    place = f"/v1/classifiers/{made['id']}"
    server.stop()
    try:
        for answer in (
            first.get(place),
            first.get("/v1/classifiers"),
            first.post("/v1/classifiers", json={"examples": examples(PAIRS)}),
            first.patch(place, json={"name": "other"}),
            first.delete(place),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
            assert int(answer.headers["retry-after"]) > 0
        assert first.get("/livez").status_code == 200
    finally:
        server.start()
    assert first.get(place).json() == made
    assert create(first, PAIRS)["examples"] == len(PAIRS)
