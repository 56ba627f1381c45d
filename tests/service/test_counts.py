"""What a request costs, counted and not timed: pictures encoded, statements, threads woken, copies, sessions."""

import inspect
import io
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio.to_thread
import httpx
import numpy as np
import onnxruntime
import pytest
import sqlalchemy.event
import torch
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from PIL import Image

from service.app import create_app
from service.settings import Settings
from tests.service.postgres import Server
from tests.service.running import b64, drawings, examples, png, serving, wait_until_answered

_NOISE = np.random.default_rng(99).integers(0, 256, (40, 28, 28), dtype=np.uint8)
STATEMENTS = ("select", "insert", "update", "delete")
NEW = [(str(number % 2), png(picture)) for number, picture in enumerate(_NOISE)]


class Counted(NamedTuple):
    """A service in this process, and what was counted of it."""

    client: httpx.Client
    counts: Counter[str]

    def of(self, method: str, path: str, **asked: Any) -> tuple[httpx.Response, dict[str, int]]:
        """An answer, and what it took."""
        self.counts.clear()
        answer = self.client.request(method, path, **asked)
        return answer, dict(self.counts)


def counting(monkeypatch: pytest.MonkeyPatch, counts: Counter[str]) -> None:
    """Count statements, calls handed to threads, sessions made, and pictures encoded."""
    submit, run_sync, run = ThreadPoolExecutor.submit, anyio.to_thread.run_sync, onnxruntime.InferenceSession.run
    made = onnxruntime.InferenceSession.__init__

    def submitted(pool: ThreadPoolExecutor, *call: Any, **more: Any) -> Any:
        counts[f"handed to {pool._thread_name_prefix}"] += 1
        return submit(pool, *call, **more)

    async def ran_sync(*call: Any, **more: Any) -> Any:
        counts["handed to anyio"] += 1
        return await run_sync(*call, **more)

    def ran(session: Any, names: Any, inputs: dict[str, Any], *more: Any) -> Any:
        counts["encoded"] += len(inputs["inputs"])
        return run(session, names, inputs, *more)

    def made_session(session: Any, *about: Any, **more: Any) -> None:
        counts["sessions"] += 1
        made(session, *about, **more)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submitted)
    monkeypatch.setattr(anyio.to_thread, "run_sync", ran_sync)
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", ran)
    monkeypatch.setattr(onnxruntime.InferenceSession, "__init__", made_session)


@contextmanager
def counted(settings: Settings) -> Iterator[Counted]:
    counts = Counter[str]()

    def executed(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        counts[statement.split(maxsplit=1)[0].lower()] += 1

    with pytest.MonkeyPatch.context() as monkeypatch:
        counting(monkeypatch, counts)
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", executed)
        try:
            with serving(create_app(settings)) as address, httpx.Client(base_url=address, timeout=60) as client:
                wait_until_answered(client)
                yield Counted(client, counts)
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", executed)


def settings_of(folder: Path, **more: Any) -> Settings:
    return Settings(
        models_dir=drawings(), default_model="omniglot-protonet", data_dir=folder, device="cpu", threads=2, **more
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    with counted(settings_of(tmp_path_factory.mktemp("counts"))) as found:
        yield found


@pytest.fixture(scope="module")
def place(service: Counted) -> str:
    answer, counts = service.of("POST", "/v1/classifiers", json={"examples": examples(NEW[:6])})
    assert answer.status_code == 201, answer.text
    assert counts["encoded"] == 6
    return str(answer.headers["location"])


def images(start: int, stop: int) -> dict[str, list[str]]:
    return {"images": [b64(data) for _, data in NEW[start:stop]]}


def test_a_picture_is_encoded_once_for_a_tenant(service: Counted, place: str) -> None:
    _, counts = service.of("POST", f"{place}/classify", json=images(6, 9))
    assert counts["encoded"] == 3
    _, counts = service.of("POST", f"{place}/classify", json=images(6, 10))
    assert counts["encoded"] == 1
    _, counts = service.of("POST", "/v1/classify", json={"examples": examples(NEW[:6]), **images(6, 12)})
    assert counts["encoded"] == 2
    answer, counts = service.of("POST", f"{place}/examples", json={"examples": examples(NEW[12:14])})
    assert (answer.status_code, counts["encoded"]) == (201, 2)
    first = service.client.get(f"{place}/examples").json()["data"][0]["id"]
    answer, counts = service.of("DELETE", f"{place}/examples/{first}")
    assert answer.is_success
    assert "encoded" not in counts


def test_a_classification_asks_sqlite_for_nothing(service: Counted, place: str) -> None:
    service.client.post(f"{place}/classify", json=images(14, 15))
    service.client.post("/v1/classify", json={"examples": examples(NEW[:2]), **images(15, 16)})  # the second has passed
    _, counts = service.of("POST", f"{place}/classify", json=images(16, 17))
    # Once a second somebody looks whether there are keys now.
    assert {name: count for name, count in counts.items() if name in STATEMENTS} in ({}, {"select": 1})


def test_a_creation_is_one_transaction_of_few_statements(service: Counted) -> None:
    few, counts_of_few = service.of("POST", "/v1/classifiers", json={"examples": examples(NEW[:4])})
    many, counts_of_many = service.of("POST", "/v1/classifiers", json={"examples": examples(NEW)})
    assert few.status_code == many.status_code == 201
    written = [sum(each.get(name, 0) for name in STATEMENTS) for each in (counts_of_few, counts_of_many)]
    assert written[1] <= written[0] <= 6, (counts_of_few, counts_of_many)


def test_postgresql_is_asked_once_for_a_classifier_that_is_in_memory(postgres: Server, tmp_path: Path) -> None:
    with counted(settings_of(tmp_path, database_url=postgres.new_database())) as service:
        made = service.client.post("/v1/classifiers", json={"examples": examples(NEW[:6])})
        path = f"{made.headers['location']}/classify"
        service.client.post(path, json=images(6, 7)).raise_for_status()
        _, counts = service.of("POST", path, json=images(7, 8))
        assert 1 <= counts.get("select", 0) <= 2  # its revision, and perhaps whether there are keys
        assert not {"insert", "update", "delete"} & counts.keys()


def test_a_small_classification_wakes_a_thread_to_decode_one_to_predict_and_one_to_encode(
    service: Counted, place: str
) -> None:
    service.client.post(
        f"{place}/classify", json=images(19, 20)
    )  # looks whether there are keys, as one does each second
    _, counts = service.of("POST", f"{place}/classify", json=images(20, 21))
    handed = {name: count for name, count in counts.items() if name.startswith("handed")}
    assert handed == {"handed to decode": 1, "handed to device": 1}  # one picture is encoded where it is predicted
    _, counts = service.of("POST", f"{place}/classify", json=images(21, 25))
    assert sum(count for name, count in counts.items() if name.startswith("handed")) <= 4


def test_no_route_and_no_dependency_is_called_through_a_thread_pool(tmp_path: Path) -> None:
    """FastAPI does so with every plain function; it cost a call of one picture a fifth of its time."""
    found = list(_dependants(create_app(settings_of(tmp_path))))
    assert len(found) > 30
    for dependant in found:
        assert inspect.iscoroutinefunction(dependant.call), dependant.call


def _dependants(app: FastAPI) -> Iterator[Dependant]:
    def below(dependant: Dependant) -> Iterator[Dependant]:
        yield dependant
        for each in dependant.dependencies:
            yield from below(each)

    routes = list(app.routes)
    while routes:
        route = routes.pop()
        if isinstance(route, APIRoute):
            yield from below(route.dependant)
        routes += getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", [])


def test_sessions_are_made_when_a_model_is_loaded_and_never_for_a_request(tmp_path: Path) -> None:
    with counted(settings_of(tmp_path)) as service:
        assert service.counts["sessions"] == 2  # one that a lone picture is shared in, one for threads
        compiled = dict(torch._dynamo.utils.counters["stats"])
        made, counts = service.of("POST", "/v1/classifiers", json={"examples": examples(NEW[:6])})
        assert "sessions" not in counts
        for count in (1, 3, 7):
            _, counts = service.of("POST", f"{made.headers['location']}/classify", json=images(10, 10 + count))
            assert "sessions" not in counts
        assert dict(torch._dynamo.utils.counters["stats"]) == compiled


def test_a_file_is_held_no_more_than_four_times(service: Counted, place: str) -> None:
    """As the socket gave it, in the form, as the decoder gets it, and what is left of a copy just dropped."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (1400, 1400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "png", compress_level=0)
    size = len(buffer.getvalue())
    assert size > 5_000_000
    files = {"files": ("large.png", buffer.getvalue(), "image/png")}
    request = service.client.build_request("POST", f"{place}/classify/upload", files=files)
    content = request.read()
    headers = dict(request.headers)
    service.client.post(f"{place}/classify/upload", content=content, headers=headers).raise_for_status()
    tracemalloc.start()
    try:
        service.client.post(f"{place}/classify/upload", content=content, headers=headers).raise_for_status()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * size, f"{most / size:.1f} times its {size} bytes"
