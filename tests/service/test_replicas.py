"""Two replicas on one PostgreSQL are one service: what one acknowledged the other answers by, at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.service.histories import Writer
from tests.service.postgres import Server
from tests.service.running import b64, digits, running

WRITERS = 8


@pytest.mark.parametrize("seconds", [8, pytest.param(120, marks=pytest.mark.soak)])
def test_no_answer_contradicts_the_order_of_acknowledged_changes(
    postgres: Server, tmp_path: Path, seconds: float
) -> None:
    """Each client sends each of its requests to any of the two."""
    place = {"KSHOT_DATABASE_URL": postgres.new_database()}
    with running(tmp_path / "one", **place) as one, running(tmp_path / "two", **place) as two:
        until = time.monotonic() + seconds

        def write(seed: int) -> int:
            with one.client(120) as first, two.client(120) as second:
                writer = Writer(seed, [first, second])
                while time.monotonic() < until:
                    writer.step()
                writer.check()
            return writer.acknowledged

        with ThreadPoolExecutor(WRITERS) as pool:
            acknowledged = list(pool.map(write, range(WRITERS)))
    print(f"{sum(acknowledged)} acknowledged changes by {WRITERS} clients on two replicas in {seconds} s, in order")
    assert min(acknowledged) > 0


def test_of_two_who_change_the_same_classifier_at_once_both_are_seen(postgres: Server, tmp_path: Path) -> None:
    place = {"KSHOT_DATABASE_URL": postgres.new_database()}
    with (
        running(tmp_path / "one", **place) as one,
        running(tmp_path / "two", **place) as two,
        one.client() as first,
        two.client() as second,
    ):
        writer = Writer(0, [first])
        while not writer.histories or writer.histories[0].pairs is None:
            writer.step()
        history = writer.histories[0]
        path, rounds = f"/v1/classifiers/{history.identifier}/examples", 6
        before = len(first.get(f"{path}?limit=100").json()["data"])
        ((_, data),) = digits(1, labels=(0,))
        added = {"examples": [{"label": "0", "image": b64(data)}]}
        gate = threading.Barrier(2)

        def add(client: httpx.Client) -> list[int]:
            statuses = []
            for _ in range(rounds):
                gate.wait()
                statuses.append(client.post(path, json=added).status_code)
            return statuses

        with ThreadPoolExecutor(2) as pool:
            told = [status for statuses in pool.map(add, (first, second)) for status in statuses]
        after = len(second.get(f"{path}?limit=100").json()["data"])
    assert set(told) <= {201, 409, 503}, told
    assert after - before == told.count(201) > 0
