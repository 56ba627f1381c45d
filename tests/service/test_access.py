"""By which name the service may be asked, from which pages, and that it never stands open unsaid."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.hostile.requests import GOOD, Target, assert_refused
from tests.service.running import REPOSITORY, Service, examples, free_port, running

HOST, ORIGIN = (421, "unknown_host"), (403, "foreign_origin")
ANYWHERE = ".".join("0000")
BODY = {"examples": examples(GOOD)}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io", ""]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/classifiers"), ("POST", "/v1/classify"), ("GET", "/livez")])
def test_a_name_that_somebody_points_here_is_refused(target: Target, host: str, method: str, path: str) -> None:
    answer = target.client.request(method, path, headers={"Host": host})
    assert_refused(answer, HOST, ["does not answer for", "add the name to KSHOT_ALLOWED_HOSTS"], target.service)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "a.localhost:1", "127.0.0.1", "[::1]:8000", "192.168.1.7", "[fe80::1]"]
)
def test_its_own_name_and_any_address_are_taken(client: httpx.Client, host: str) -> None:
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "{own}"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/classifiers"), ("POST", "/v1/classify/upload"), ("DELETE", "/v1/classifiers/{id}")],
)
def test_a_page_of_another_site_writes_nothing(target: Target, method: str, path: str, headers: dict[str, str]) -> None:
    before = target.stored()
    sent = {name: value.replace("{own}", target.service.url) for name, value in headers.items()}
    answer = target.client.request(method, path.replace("{id}", target.classifier_id), headers=sent, json=BODY)
    assert_refused(answer, ORIGIN, ["page of another site", "KSHOT_ALLOWED_ORIGINS"], target.service)
    assert target.stored() == before


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "{own}"}, {"Origin": "{own}", "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}],
)
def test_its_own_page_and_what_is_no_browser_write(target: Target, headers: dict[str, str]) -> None:
    sent = {name: value.replace("{own}", target.service.url) for name, value in headers.items()}
    created = target.client.post("/v1/classifiers", json=BODY, headers=sent)
    assert created.status_code == 201
    assert target.client.delete(created.headers["location"], headers=sent).status_code == 204


def test_a_page_of_another_site_may_link_here(client: httpx.Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/docs", headers=headers).status_code == 200


@pytest.fixture(scope="module")
def allowing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"KSHOT_ALLOWED_HOSTS": "kshot.example, Other.example", "KSHOT_ALLOWED_ORIGINS": "https://page.example"}
    with running(tmp_path_factory.mktemp("allowing") / "data", **settings) as service:
        yield service


def test_the_settings_say_which_names_and_pages(allowing: Service) -> None:
    with allowing.client() as client:
        assert client.get("/livez", headers={"Host": "other.example"}).status_code == 200
        assert client.get("/livez", headers={"Host": "localhost"}).status_code == 421
        origin = {"Origin": "https://page.example", "Sec-Fetch-Site": "cross-site"}
        asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        assert client.options("/v1/classify", headers=asked).headers["access-control-allow-origin"] == origin["Origin"]
        answer = client.post("/v1/classifiers", json=BODY, headers=origin)
        assert answer.status_code == 201
        assert answer.headers["access-control-allow-origin"] == origin["Origin"]
        others = client.post("/v1/classifiers", json=BODY, headers={"Origin": "https://other.example"})
        assert (others.status_code, "access-control-allow-origin" in others.headers) == (403, False)


def test_bound_to_more_than_loopback_it_does_not_start_unless_told_to(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service", "serve", "--host", ANYWHERE, "--port", str(free_port())]
    refused = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "data")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = " ".join(refused.stderr.split())
    assert refused.returncode == 2
    assert f"bound to {ANYWHERE} it needs keys, and there are none: make one with" in said
    assert "KSHOT_AUTH=off" in said
    with running(tmp_path / "open", KSHOT_AUTH="off", KSHOT_HOST=ANYWHERE) as started, started.client() as client:
        assert client.get("/v1/models").status_code == 200
