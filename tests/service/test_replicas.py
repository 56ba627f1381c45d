"""Two replicas on one PostgreSQL are one service: what one acknowledged the other answers by, at once."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.histories import Writer
from tests.service.postgres import Server
from tests.service.running import Service, b64, digits, running, start

WRITERS = 8


@pytest.mark.parametrize(
    "seconds", [pytest.param(10, marks=pytest.mark.faults), pytest.param(120, marks=pytest.mark.soak)]
)
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


@pytest.mark.faults
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


@dataclass
class Retrying:
    """A client that asks the other replica where one is gone or going, as a balancer would.

    Attributes:
        replicas: clients of each.
        retried: how often it had to.
    """

    replicas: list[httpx.Client]
    retried: int = 0
    turn: Iterator[int] = field(default_factory=itertools.count)

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        for _ in range(40):
            replica = self.replicas[next(self.turn) % len(self.replicas)]
            # Nothing listens, or the connection was closed between two requests: nothing was done.
            with contextlib.suppress(httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
                answer = replica.request(method, url, **options)
                if answer.status_code != 503:
                    return answer
            self.retried += 1
            time.sleep(0.05)
        raise AssertionError(f"{method} {url}: no replica answers")


@pytest.mark.parametrize("rounds", [pytest.param(1, marks=pytest.mark.faults), pytest.param(5, marks=pytest.mark.soak)])
def test_restarting_one_replica_after_the_other_fails_no_request(postgres: Server, tmp_path: Path, rounds: int) -> None:
    settings = {"KSHOT_DATABASE_URL": postgres.new_database(), "KSHOT_DRAIN_NOTICE_SECONDS": "1"}
    replicas = [start(tmp_path / name, **settings) for name in ("one", "two")]  # type: ignore[arg-type]
    over = threading.Event()

    def write(seed: int) -> tuple[int, int]:
        with contextlib.ExitStack() as stack:
            client = Retrying([stack.enter_context(each.client(120)) for each in replicas])
            writer = Writer(seed, [client])
            while not over.is_set():
                writer.step()
            writer.check()
        return writer.acknowledged, client.retried

    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            told = [pool.submit(write, seed) for seed in range(WRITERS)]
            try:
                for number in list(range(len(replicas))) * rounds:
                    replicas[number] = restarted(replicas[number], tmp_path / f"again {number}", settings)
            finally:
                over.set()
            acknowledged, retried = map(sum, zip(*(each.result() for each in told), strict=True))
    finally:
        for replica in replicas:
            replica.kill()
    print(f"{2 * rounds} restarts, {acknowledged} acknowledged changes, 0 failed requests, {retried} sent again")
    assert acknowledged > WRITERS
    assert retried > 0


def restarted(service: Service, data: Path, settings: dict[str, str]) -> Service:
    """In the place of one that is asked to end: at its address."""
    assert service.stop() == 0
    return start(data, port=int(service.url.rpartition(":")[2]), **settings)  # type: ignore[arg-type]
