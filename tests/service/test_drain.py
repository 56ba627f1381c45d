"""SIGTERM: live and not ready, what is in flight is finished within a bound, the process ends well."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.hostile.requests import CREATE, GOOD
from tests.service.running import examples, running
from tests.service.test_overload import slow_body, until_held


def test_what_is_in_flight_is_finished_and_nothing_new_begun(tmp_path: Path) -> None:
    with running(tmp_path / "data", KSHOT_THREADS="1") as service, service.client() as client:
        with ThreadPoolExecutor(1) as pool, service.client() as another:
            large = pool.submit(another.post, CREATE, json=slow_body(12))
            until_held(service, 12)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert httpx.get(f"{service.url}/livez").status_code == 200
            ready, refused = client.get("/readyz"), client.post(CREATE, json={"examples": examples(GOOD)})
            assert not large.done()
            assert large.result().status_code == 201
        assert service.process.wait(timeout=10) == 0
    for answer in (ready, refused):
        assert (answer.status_code, answer.json()["code"]) == (503, "draining")
        assert int(answer.headers["retry-after"]) > 0
    with running(tmp_path / "data") as service, service.client() as client:
        assert [entry["id"] for entry in client.get(CREATE).json()["data"]] == [large.result().json()["id"]]


def test_while_a_balancer_takes_notice_requests_are_still_taken(tmp_path: Path) -> None:
    settings = {"KSHOT_DRAIN_NOTICE_SECONDS": "2", "KSHOT_DRAIN_SECONDS": "20"}
    with running(tmp_path / "data", **settings) as service, service.client() as client:
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert client.get("/readyz").status_code == 503
        assert client.post(CREATE, json={"examples": examples(GOOD)}).status_code == 201
        assert service.process.wait(timeout=10) == 0


def test_what_is_not_finished_within_the_bound_is_told_so(tmp_path: Path) -> None:
    with running(tmp_path / "data", KSHOT_THREADS="1", KSHOT_DRAIN_SECONDS="1") as service:
        with ThreadPoolExecutor(1) as pool, service.client() as client:
            large = pool.submit(client.post, CREATE, json=slow_body(60))
            until_held(service, 60)
            began = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            assert (large.result().status_code, large.result().json()["code"]) == (503, "draining")
        assert service.process.wait(timeout=10) == 0
        assert time.monotonic() - began < 8
