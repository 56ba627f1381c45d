"""Past its room the service refuses at once; what nobody waits for is not done; small calls pass large ones."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from service.admission import Admission, Lane
from service.errors import Overloaded
from tests.hostile.requests import CREATE, GOOD, JSON, ONCE, Target, asked, assert_refused, black_png, chunk
from tests.service.running import Service, b64, digits, examples, running
from tests.service.test_metrics import of, samples

# Sixteen megapixels of one bit each, in a palette with transparency: 2 kB that take a third of a second.
SLOW = b64(black_png(4000, 4000, depth=1, colour=3, before=chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", b"\x80")))
LATE = (503, "deadline_exceeded")


def slow_body(count: int) -> dict[str, object]:
    return {"examples": [{"label": str(number % 2), "image": SLOW} for number in range(count)]}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service with one thread for decoding, where a few pictures take seconds, and with room for twenty."""
    settings = {"KSHOT_THREADS": "1", "KSHOT_LIMITS__WAITING_PICTURES": "20", "KSHOT_LIMITS__BODY_SECONDS": "2"}
    with running(tmp_path_factory.mktemp("busy") / "data", **settings) as service, service.client() as client:
        yield Target.of(service, client)


def until_held(service: Service, pictures: int) -> None:
    with service.client() as client:
        for _ in range(400):
            if samples(client)[of("kshot_queue_pictures")] == pictures:
                return
            time.sleep(0.025)
    raise AssertionError(f"never {pictures} pictures")


class Clock:
    """Stands still unless it is moved."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("service.admission.time", clock)
    return clock


async def taught(clock: Clock, seconds_per_request: float, *, max_seconds: float) -> Admission:
    """One that has seen requests of ten pictures, each alone."""
    admission = Admission(max_pictures=10_000, max_seconds=dict.fromkeys(Lane, max_seconds))
    for _ in range(80):
        async with admission.admit(Lane.CREATE, 10):
            clock.now += seconds_per_request
    return admission


def test_a_lane_learns_how_long_its_requests_stay_and_refuses_who_would_wait_too_long(clock: Clock) -> None:
    async def run() -> None:
        admission = await taught(clock, 0.02, max_seconds=0.1)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(8):  # about 0.16 s together
                await stack.enter_async_context(admission.admit(Lane.CREATE, 10))
            with pytest.raises(Overloaded, match="80 pictures are being worked on; those before yours take about"):
                admission.check(Lane.CREATE)
            async with admission.admit(Lane.CLASSIFY, 10):  # does not wait for creations
                pass
        admission.check(Lane.CREATE)
        assert admission.pictures == 0

    asyncio.run(run())


def test_behind_a_few_slow_requests_one_may_wait_longer_but_not_for_ever(clock: Clock) -> None:
    async def run() -> None:
        admission = await taught(clock, 0.02, max_seconds=0.02)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):  # about 0.06 s
                await stack.enter_async_context(admission.admit(Lane.CREATE, 10))
            admission.check(Lane.CREATE)
            for _ in range(4):
                await stack.enter_async_context(admission.admit(Lane.CREATE, 10))
            with pytest.raises(Overloaded):
                admission.check(Lane.CREATE)

    asyncio.run(run())


def test_no_more_pictures_are_held_in_memory_than_were_set() -> None:
    async def run() -> None:
        admission = Admission(max_pictures=100, max_seconds=dict.fromkeys(Lane, 9))
        async with admission.admit(Lane.CREATE, 900):  # of any size where nothing waits
            with pytest.raises(Overloaded, match="900 pictures are being worked on and 11 more came; at most 100"):
                admission.check(Lane.CLASSIFY, 11)

    asyncio.run(run())


def test_a_request_waits_for_a_turn_of_a_large_one_and_a_large_one_may_wait_longer(clock: Clock) -> None:
    async def run() -> None:
        admission = await taught(clock, 0.01, max_seconds=0.004)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(admission.admit(Lane.CREATE, 1000))
            admission.check(Lane.CREATE, 5)  # for sixteen of the thousand
            for _ in range(7):
                await stack.enter_async_context(admission.admit(Lane.CREATE, 16))
            with pytest.raises(Overloaded):
                admission.check(Lane.CREATE, 5)
            admission.check(Lane.CREATE, 1000)  # of which it has as many itself

    asyncio.run(run())


def test_a_knock_counts_until_it_is_admitted_and_no_longer_than_its_body_is_quick(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr("service.admission._KNOCK_SECONDS", 0.05)

    async def run() -> None:
        admission = await taught(clock, 0.02, max_seconds=0.1)
        knocks = [admission.knock(Lane.CREATE) for _ in range(8)]
        with pytest.raises(Overloaded, match="0 pictures are being worked on; those before yours"):
            admission.check(Lane.CREATE)  # as many pictures as others came with are counted for each
        await asyncio.sleep(0.1)  # their bodies are slow
        admission.check(Lane.CREATE)
        for knock in knocks:
            knock.body_came()
        async with admission.admit(Lane.CREATE, 10, knocks[0]):  # not behind itself
            with pytest.raises(Overloaded):
                admission.check(Lane.CREATE)
        for knock in knocks[1:]:
            knock.let_go()
        admission.check(Lane.CREATE)

    asyncio.run(run())


def test_what_finds_no_room_is_refused_before_its_body_has_come(busy: Target) -> None:
    with ThreadPoolExecutor(1) as pool, busy.service.client() as client:
        large = pool.submit(client.post, CREATE, json=slow_body(20))
        until_held(busy.service, 20)
        began = time.monotonic()
        url = httpx.URL(busy.service.url)
        with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
            head = "POST /v1/classifiers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: 1000000\r\n\r\n{{".encode())
            answer = connection.recv(65536).decode()
            answer += connection.recv(65536).decode() if answer.endswith("\r\n\r\n") else ""
        assert answer.startswith("HTTP/1.1 503")
        assert '"code":"overloaded"' in answer
        assert "retry-after:" in answer.lower()
        assert time.monotonic() - began < 2
        assert client.get("/livez").status_code == 200
        assert large.result().status_code == 201
    told = samples(busy.client)
    assert told[of("kshot_requests_total", route="refused", method="POST", code="503")] >= 1
    assert told[of("kshot_sheds_total", code="overloaded")] >= 1
    time.sleep(1.2)
    assert '"refused 1 requests: overloaded","count":1,' in busy.service.log.read_text()
    busy.assert_unharmed()


@pytest.mark.parametrize("body", [slow_body(20), {"examples": examples(GOOD), "images": [SLOW] * 14}])
def test_a_client_may_say_how_long_it_waits(busy: Target, body: dict[str, object]) -> None:
    began = time.monotonic()
    answer = busy.client.post(ONCE if "images" in body else CREATE, json=body, headers={"X-Request-Timeout": "0.5"})
    assert_refused(answer, LATE, ["over what its X-Request-Timeout allows and was dropped"], busy.service)
    assert int(answer.headers["retry-after"]) > 0
    assert time.monotonic() - began < 3
    until_held(busy.service, 0)
    busy.assert_unharmed()


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "", "1 s", "é"])
def test_a_patience_that_is_no_number_of_seconds_is_refused(target: Target, given: str) -> None:
    headers = {b"X-Request-Timeout": given.encode("latin-1")}
    answer = target.client.post(CREATE, json={"examples": examples(GOOD)}, headers=headers)
    assert_refused(answer, (422, "invalid_request"), ["X-Request-Timeout is", "expected the seconds"], target.service)


@pytest.mark.parametrize(
    ("headers", "how"), [({}, (408, "body_too_slow")), ({"X-Request-Timeout": "0.3"}, LATE)], ids=["its own", "theirs"]
)
def test_a_body_that_does_not_come_in_time_is_not_waited_for(
    busy: Target, headers: dict[str, str], how: tuple[int, str]
) -> None:
    def trickle() -> Iterator[bytes]:
        for _ in range(40):
            yield b" "
            time.sleep(0.1)

    with busy.service.client() as client:
        answer = client.post(CREATE, content=trickle(), headers={**JSON, **headers})
    assert_refused(answer, how, ["the"], busy.service)
    busy.assert_unharmed()


def test_who_hangs_up_costs_nothing_more(busy: Target) -> None:
    with busy.service.client(timeout_seconds=0.5) as client, pytest.raises(httpx.ReadTimeout):
        client.post(CREATE, json=slow_body(18))
    began = time.monotonic()
    until_held(busy.service, 0)
    assert time.monotonic() - began < 3  # all eighteen take five
    told = samples(busy.client)
    assert told[of("kshot_requests_total", route="/v1/classifiers", method="POST", code="499")] == 1
    busy.assert_unharmed()


def test_classifying_is_not_kept_waiting_by_a_large_creation(tmp_path_factory: pytest.TempPathFactory) -> None:
    body = {"examples": examples(digits(100))}
    with running(tmp_path_factory.mktemp("large") / "data", KSHOT_THREADS="1") as service, service.client() as client:
        target, took = Target.of(service, client), list[float]()
        with ThreadPoolExecutor(1) as pool, service.client() as another:
            large: Future[httpx.Response] = pool.submit(another.post, CREATE, json=body)
            while not large.done():
                began = time.monotonic()
                asked(client, target.classifier_id)
                took.append(time.monotonic() - began)
            assert large.result().status_code == 201
    assert len(took) >= 5
    assert sorted(took)[len(took) // 2] < 0.5
