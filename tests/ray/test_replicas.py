"""Replicas on Ray Serve are one service, also while one of them is killed, all are replaced, or the service ends."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from service.cli import app
from tests.ray.running import REPLICAS, replicas, running_on_ray, wait_for_replicas
from tests.service.histories import Writer
from tests.service.postgres import Place, Server
from tests.service.running import Service, b64, digits, examples
from tests.service.test_kill import assert_whole

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

WRITERS = 6


@pytest.fixture(scope="module")
def url(postgres: Server) -> str:
    return postgres.new_database()


@pytest.fixture(scope="module")
def service(postgres: Server, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_on_ray(tmp_path_factory.mktemp("ray"), postgres=postgres, database_url=url) as started:
        yield started


class Asking:
    """A client that asks again where it is told to, and takes the word that a replica died for no answer."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def request(self, method: str, url: str, *, json: Any = None, headers: Any = None) -> httpx.Response:
        for _ in range(200):
            answer = self.client.request(method, url, json=json, headers=headers)
            assert answer.is_success or answer.headers["content-type"] == "application/problem+json", answer.text
            if answer.status_code == 502 and answer.json()["code"] == "replica_lost":
                raise httpx.ReadError(f"{method} {url}: {answer.text[:200]}")
            if answer.status_code != 503:
                return answer
            assert int(answer.headers["retry-after"]) > 0
            time.sleep(0.1)
        raise AssertionError(f"{method} {url}: {answer.status_code} {answer.text[:200]}")


@contextmanager
def writing(service: Service, *, seed: int) -> Iterator[Callable[[], tuple[list[Writer], list[str]]]]:
    """Writers without pause while the block runs; call what it yields to stop them: they, and what was not answered.

    Their seeds are `seed` and those after it, no other writer's of this database: a writer's Idempotency-Keys follow
    from its seed, and a second one of the same would be given the first one's classifiers.
    """
    over = threading.Event()

    def write(seed: int) -> tuple[Writer, list[str]]:
        with service.client(120) as client:
            writer, unanswered = Writer(seed, [Asking(client)]), []
            while not over.is_set():
                try:
                    writer.step()
                except httpx.TransportError as error:
                    unanswered.append(str(error))
                    settled(writer)
            settled(writer)
            writer.check()
        writer.clients = []
        return writer, unanswered

    def stop() -> tuple[list[Writer], list[str]]:
        over.set()
        writers, unanswered = zip(*(each.result() for each in told), strict=True)
        return list(writers), [line for lines in unanswered for line in lines]

    with ThreadPoolExecutor(WRITERS) as pool:
        told: list[Future[tuple[Writer, list[str]]]] = [pool.submit(write, seed + number) for number in range(WRITERS)]
        try:
            yield stop
        finally:
            over.set()


def settled(writer: Writer) -> None:
    """Its last change was done wholly or not at all; asked again where that is not answered either."""
    for _ in range(20):
        try:
            writer.settle()
            return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError("nobody answers")


def test_a_replica_that_is_killed_under_load_is_replaced_and_nothing_acknowledged_is_lost(
    service: Service, url: str, tmp_path: Path
) -> None:
    before = {replica.pid for replica in replicas(service)}
    with writing(service, seed=0) as stop:
        time.sleep(3)
        killed = min(before)
        next(replica for replica in replicas(service) if replica.pid == killed).kill()
        deadline = time.monotonic() + 120
        while len({replica.pid for replica in replicas(service)} - {killed}) < REPLICAS:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(3)
        writers, unanswered = stop()
    acknowledged = sum(writer.acknowledged for writer in writers)
    print(f"{acknowledged} acknowledged changes, none lost; {len(unanswered)} requests unanswered: {set(unanswered)}")
    assert_whole(Place(tmp_path, url), writers)
    assert len(unanswered) <= WRITERS, "only what was in flight"
    assert {replica.pid for replica in replicas(service)} != before


def test_replicas_that_are_replaced_one_after_the_other_fail_no_request(service: Service) -> None:
    before = {replica.pid for replica in replicas(service)}
    with writing(service, seed=WRITERS) as stop:
        service.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 120
        while before & {replica.pid for replica in replicas(service)}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        writers, unanswered = stop()
    wait_for_replicas(service)
    assert unanswered == []
    assert min(writer.acknowledged for writer in writers) > 0


def test_both_replicas_answer(service: Service) -> None:
    def started(_: int) -> str:
        """When the replica that is asked began; one is enough for requests that come one at a time."""
        told: str = client.get("/metrics").raise_for_status().text
        return told.partition("\nprocess_start_time_seconds ")[2].split()[0]

    answered: set[str] = set()
    deadline = time.monotonic() + 60  # one that replaced another may still load its models
    with service.client() as client, ThreadPoolExecutor(16) as pool:
        while len(answered) < REPLICAS:
            assert time.monotonic() < deadline, answered
            answered = set(pool.map(started, range(64)))
    assert len(answered) == REPLICAS


def test_no_replica_takes_up_models_alone(service: Service) -> None:
    with service.client() as client:
        answer = client.post("/v1/admin/models/reload")
    assert (answer.status_code, answer.json()["code"]) == (409, "replaced_together")
    assert "SIGHUP" in answer.json()["detail"]


def test_bodies_of_many_pictures_go_through_and_larger_ones_are_refused_by_the_service(service: Service) -> None:
    with service.client(120) as client:
        limit = client.get("/version").json()["limits"]["body_bytes"]
        pictures = digits(12)
        files = [("files", (f"{number}.png", data, "image/png")) for number, (_, data) in enumerate(pictures)]
        form = {"labels": [label for label, _ in pictures], "name": "x" * 50}
        assert client.post("/v1/classifiers/upload", files=files, data=form).status_code == 201
        answer = client.post("/v1/classify", content=b" " * (limit + 1), headers={"content-type": "application/json"})
        chunks = (b" " * 2**20 for _ in range(limit // 2**20 + 2))
        chunked = client.post("/v1/classify", content=chunks, headers={"content-type": "application/json"})
    for refused in (answer, chunked):
        assert refused.status_code == 413
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["request_id"] == refused.headers["x-request-id"]


def test_a_key_that_may_not_ask_so_often_is_told_when_to_come_again(
    service: Service, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Last: once there is a key, everybody needs one."""
    with service.client() as client:
        monkeypatch.setenv("KSHOT_DATABASE_URL", url)
        made = CliRunner().invoke(app, ["keys", "create", "visitor", "--requests-per-minute", "1"])
        key = next(word for word in made.output.split() if word.startswith("kshot_"))
        time.sleep(1.1)  # a replica looks once a second whether there is a first key
        assert client.get("/v1/models").status_code == 401
        headers = {"authorization": f"Bearer {key}"}
        answers = [client.get("/v1/models", headers=headers) for _ in range(2 * REPLICAS + 1)]
    told = [answer for answer in answers if answer.status_code == 429]
    assert told
    assert int(told[0].headers["retry-after"]) > 0
    assert told[0].headers["content-type"] == "application/problem+json"


def test_what_is_in_flight_is_finished_when_the_service_is_asked_to_end(postgres: Server, tmp_path: Path) -> None:
    with running_on_ray(tmp_path, postgres=postgres) as service, service.client(120) as client:
        pictures = digits(20)
        body = {"examples": examples(pictures), "images": [b64(data) for _, data in pictures]}
        with ThreadPoolExecutor(4) as pool:
            told = [pool.submit(client.post, "/v1/classify", json=body) for _ in range(4)]
            time.sleep(0.2)
            service.process.terminate()
            assert [each.result().status_code for each in told] == [200] * 4
        assert service.process.wait(timeout=60) == 0
