"""What Ray Serve is given, without Ray: `make test-ray` runs it there."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner

from service.app import create_app
from service.cli import app
from service.errors import UnsafeSettings
from service.ray_app import Hosted, check, of_a_replica
from service.ray_proxy import Front
from service.schemas import Problem
from service.settings import Fleet, Settings
from tests.service.running import drawings, serving

SHARED = SecretStr("postgresql+asyncpg://somebody@127.0.0.1/somewhere")


class WithoutState:
    """As Ray Serve does it: requests are given nothing of what the start yields."""

    def __init__(self, hosted: Hosted) -> None:
        self.hosted = hosted

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        if scope["type"] == "http":
            scope = {name: value for name, value in scope.items() if name != "state"}
        await self.hosted(scope, receive, send)


def test_a_hosted_app_has_loaded_its_models_when_it_has_started(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, models_dir=drawings(), device="cpu", threads=1)
    hosted = Hosted(create_app(settings))
    with serving(WithoutState(hosted)) as url:
        answer = httpx.get(f"{url}/readyz", headers={"x-request-id": "mine"}, timeout=60)  # waits for the start
        assert answer.status_code == 200
        assert "x-request-id" not in answer.headers, "Ray's proxy adds it"
        hosted.check_health()


def test_replicas_need_a_database_that_they_can_share(tmp_path: Path) -> None:
    with pytest.raises(UnsafeSettings, match=r"KSHOT_DATABASE_URL is unset.*PostgreSQL"):
        check(Settings(data_dir=tmp_path))
    with pytest.raises(UnsafeSettings, match="KSHOT_METRICS_PORT=9000"):
        check(Settings(database_url=SHARED, metrics_port=9000))


def test_a_replica_has_the_cores_and_the_gpus_that_ray_gives_it() -> None:
    plain = of_a_replica(Settings(database_url=SHARED))
    assert (plain.threads, plain.device) == (1, "cpu")
    assert plain.models_dir.is_absolute()
    large = of_a_replica(Settings(database_url=SHARED, fleet=Fleet(cpus=4, gpus=0.5)))
    assert (large.threads, large.device) == (4, "auto")
    assert of_a_replica(Settings(database_url=SHARED, threads=7)).threads == 7


def test_no_fewer_replicas_at_most_than_at_least() -> None:
    with pytest.raises(ValidationError, match="most_replicas is 1, replicas 2; expected no fewer"):
        Fleet(most_replicas=1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--replicas", "2"], "--replicas are those of --engine ray"),
        (["--engine", "ray", "--supervise"], "leave --supervise out"),
        (["--engine", "ray"], "KSHOT_DATABASE_URL is unset"),
        (["--engine", "gunicorn"], "'uvicorn', 'ray'"),
    ],
)
def test_options_that_do_not_fit_together_are_explained(options: list[str], told: str) -> None:
    done = CliRunner().invoke(app, ["serve", *options])
    assert done.exit_code == 2
    assert told in " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.output).split())


class RaysOwn:
    """A proxy as Ray's: an error of its own, none at all, or an answer, with the id that came added to it."""

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        if scope["type"] != "http" or scope["path"] == "/nothing":
            return
        if scope["path"] == "/raised":
            raise RuntimeError("the replica died")
        came = dict(scope["headers"])
        self.keys.append(came.get(b"idempotency-key"))
        status = int(scope["path"].strip("/"))
        kind = b"text/plain" if status >= 400 else b"application/json"
        headers = [(b"content-type", kind), (b"x-request-id", came[b"x-request-id"])]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"1"})


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/500", 502, "replica_lost"),
        ("/408", 502, "replica_lost"),
        ("/raised", 502, "replica_lost"),
        ("/nothing", 502, "replica_lost"),
        ("/503", 503, "not_ready"),
        ("/404", 503, "not_ready"),
    ],
)
def test_before_rays_proxy_an_error_of_rays_own_is_a_problem_document(path: str, status: int, code: str) -> None:
    with serving(Front(RaysOwn())) as url:
        lost = httpx.get(url + path, headers={"x-request-id": "mine"})
    assert (lost.status_code, lost.json()["code"]) == (status, code)
    assert lost.headers.get_list("x-request-id") == [lost.json()["request_id"]] == ["mine"]
    assert lost.headers["content-type"] == "application/problem+json"
    assert lost.headers.get("retry-after") == ("1" if status == 503 else None)
    assert Problem.model_validate(lost.json()).model_dump() == lost.json()


def test_before_rays_proxy_an_answer_passes_under_the_id_that_the_service_would_give() -> None:
    with serving(Front(RaysOwn())) as url:
        fine = httpx.get(f"{url}/200", headers={"x-request-id": "two words"})
    assert fine.json() == 1
    assert fine.headers.get_list("x-request-id") != ["two words"]


def test_a_creation_that_ray_may_send_twice_has_a_key_that_makes_it_one() -> None:
    proxy = RaysOwn()
    with serving(Front(proxy)) as url:
        httpx.get(f"{url}/200")
        httpx.post(f"{url}/200")
        httpx.post(f"{url}/200")
        httpx.post(f"{url}/200", headers={"idempotency-key": "mine"})
    read, first, second, own = proxy.keys
    assert (read, own) == (None, b"mine")
    assert first is not None
    assert first.startswith(b"ray-")
    assert first != second


def test_what_stands_before_rays_proxy_does_not_load_torch() -> None:
    program = "import sys, service.ray_proxy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
