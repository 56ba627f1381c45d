"""Prometheus itself scrapes a working service: every panel of the dashboard shows something, every alert is judged."""

import contextlib
import math
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.service.running import Service, b64, digits, examples, free_port, running
from tests.service.test_observability import DOCKER, alerts, panels

pytestmark = pytest.mark.prometheus

SCRAPE_SECONDS = 1
# What Grafana puts in place of its variables, of scrapes that are so far apart.
VARIABLES = {"$instance": ".+", "$__rate_interval": f"{10 * SCRAPE_SECONDS}s"}


@dataclass
class Prometheus:
    """A running one."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters).raise_for_status().json()
        assert answer["status"] == "success"
        return answer["data"]

    def values(self, expression: str) -> list[float]:
        """What a panel would show now; what is no number it would not."""
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        found = (float(sample["value"][1]) for sample in self.get("query", query=expression)["result"])
        return [value for value in found if not math.isnan(value)]

    def states(self) -> dict[str, str]:
        """Of each alert: inactive, pending or firing."""
        (group,) = self.get("rules")["groups"]
        assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}, group
        return {rule["name"]: rule["state"] for rule in group["rules"]}


@pytest.fixture
def metrics_port() -> int:
    return free_port()


@pytest.fixture
def service(tmp_path: Path, metrics_port: int) -> Iterator[Service]:
    """One that tells its metrics where docker-compose.yml has them: on a port of their own."""
    with running(tmp_path / "data", KSHOT_METRICS_PORT=str(metrics_port)) as started:
        yield started


@pytest.fixture
def prometheus(metrics_port: int, tmp_path: Path) -> Iterator[Prometheus]:
    """With the repository's own configuration, but for where kshot is and how often it is asked."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not on the PATH; Debian's package prometheus has it")
    settings = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
    (job,) = settings["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{metrics_port}"]}]
    settings["rule_files"] = [str(DOCKER / "prometheus" / name) for name in settings["rule_files"]]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    port = free_port()
    command = [program, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextlib.contextmanager
def traffic(service: Service) -> Iterator[None]:
    """Something of everything that a panel counts, again and again."""
    over = threading.Event()

    def work() -> None:
        support = {"examples": examples(digits(2, labels=(1, 2)))}
        images = {"images": [b64(data) for _, data in digits(1, start=5, labels=(1, 2))]}
        with service.client() as client:
            while not over.is_set():
                made = client.post("/v1/classifiers", json=support).raise_for_status()
                client.post(f"{made.headers['location']}/classify", json=images).raise_for_status()
                hurried = client.post("/v1/classify", json=support | images, headers={"X-Request-Timeout": "0.000001"})
                assert hurried.status_code == 503, hurried.text
                over.wait(0.1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def wait_for(found: Callable[[], Any], *, seconds: float = 60) -> Any:
    """The first true thing that is found."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError, httpx.HTTPStatusError):
            if told := found():
                return told
        time.sleep(SCRAPE_SECONDS / 2)
    raise AssertionError(f"not within {seconds} s: {found()}")


def test_every_panel_shows_something_and_an_alert_is_raised_once_the_service_is_gone(
    service: Service, prometheus: Prometheus
) -> None:
    with traffic(service):
        expressions = [each for all_of in panels().values() for each in all_of]
        assert len(expressions) > 25
        empty = set(expressions)

        def shown() -> bool:
            empty.difference_update([each for each in empty if prometheus.values(each)])
            return not empty

        try:
            wait_for(shown, seconds=45)
        except AssertionError:
            assert empty == set()
        # A third of what is sent is refused; the rate of it takes some scrapes.
        wait_for(lambda: prometheus.states().get("KshotShedding") == "pending")
    (instance,) = prometheus.get("label/instance/values")
    assert prometheus.values(f'kshot_ready{{instance="{instance}", job="kshot"}}') == [1]
    states = prometheus.states()
    assert states.keys() == alerts().keys()
    assert {name: state for name, state in states.items() if state != "inactive"} == {"KshotShedding": "pending"}
    service.kill()
    wait_for(lambda: prometheus.states()["KshotDown"] == "pending")
    assert prometheus.states()["KshotGone"] == "inactive"
