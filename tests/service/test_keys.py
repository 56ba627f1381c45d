"""Keys: what is stored of them, who they let in, to what, how often, and that they keep tenants apart."""

import asyncio
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.callers import Caller, Scope, needed_scope
from service.database import open_database
from service.errors import InvalidKey, UnknownKey
from service.keys import Keys
from service.rates import Rates
from service.settings import Settings
from tests.hostile.requests import GOOD, QUERIES, assert_refused
from tests.service.postgres import Place
from tests.service.running import REPOSITORY, Service, b64, examples, running

BODY = {"examples": examples(GOOD)}
IMAGES = {"images": [b64(data) for data in QUERIES]}
NO_KEY, BAD_KEY, NO_SCOPE = (401, "missing_key"), (401, "invalid_key"), (403, "missing_scope")
BOTH = (Scope.READ, Scope.WRITE)


def make(settings: Settings, *, scopes: Iterable[Scope] = BOTH, tenant: str = "a", **limits: int) -> str:
    async def run() -> str:
        database = await open_database(settings)
        text = await Keys(database).create(name="test", tenant=tenant, scopes=scopes, **limits)
        await database.close()
        return text

    return asyncio.run(run())


def shown(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_a_key_is_known_by_its_hash_until_it_is_revoked_elsewhere(place: Place) -> None:
    async def run() -> None:
        database, of_another_process = await open_database(place.settings), await open_database(place.settings)
        keys, elsewhere = Keys(database), Keys(of_another_process)
        assert not await Keys(database).any_made()
        text = await keys.create(name="laptop", tenant="a", scopes=BOTH, max_classifiers=7)
        assert await keys.any_made()
        (listed,) = await keys.list()
        assert await elsewhere.caller(text) == listed.caller
        assert listed.caller == Caller("a", frozenset(BOTH), listed.id, None, 7)
        secret = text.removeprefix(f"kshot_{listed.id}_")
        assert len(secret) == 43
        assert secret not in str(listed)
        for wrong in (text[:-1] + ("A" if text[-1] != "A" else "B"), text[:-1], f"kshot_{'0' * 16}_{secret}", "", "é"):
            with pytest.raises(InvalidKey, match="not one of this service"):
                await keys.caller(wrong)
        await elsewhere.revoke(listed.id)
        with pytest.raises(InvalidKey, match="revoked"):
            await keys.caller(text)
        with pytest.raises(UnknownKey):
            await keys.revoke(listed.id)
        assert await Keys(database).any_made()
        await database.close()
        await of_another_process.close()

    asyncio.run(run())


def test_a_bucket_serves_a_burst_and_then_a_stream() -> None:
    now = 0.0
    rates = Rates(clock=lambda: now)
    first = [rates.take("a", per_minute=60) for _ in range(61)]
    assert [allowance.remaining for allowance in first[:3]] == [59, 58, 57]
    assert [allowance.wait_seconds for allowance in first] == [0] * 60 + [1]
    assert rates.take("b", per_minute=60).wait_seconds == 0
    now = 2.0
    assert [rates.take("a", per_minute=60).wait_seconds for _ in range(3)] == [0, 0, 1]
    assert first[60].headers() == {"RateLimit-Limit": "60", "RateLimit-Remaining": "0", "RateLimit-Reset": "60"}


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/livez", None),
        ("GET", "/docs/assets/swagger-ui.js", None),
        ("GET", "/v1/models", Scope.READ),
        ("POST", "/v1/classifiers/{id}/classify/upload", Scope.READ),
        ("POST", "/v1/classify", Scope.READ),
        ("DELETE", "/v1/classifiers/{id}/classify", Scope.WRITE),
        ("POST", "/v1/classifiers", Scope.WRITE),
        ("GET", "/metrics", Scope.ADMIN),
        ("GET", "/v1/admin/anything", Scope.ADMIN),
        ("POST", "/livez", Scope.WRITE),
        ("BREW", "/nothing", Scope.WRITE),
    ],
)
def test_every_request_needs_some_scope(method: str, path: str, scope: Scope | None) -> None:
    assert needed_scope(method, path) is scope


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("keyed") / "data"
    folder.mkdir()
    return Settings(data_dir=folder)


@pytest.fixture(scope="module")
def keyed(settings: Settings) -> Iterator[Service]:
    """A service on all addresses, which has a key."""
    make(settings)
    with running(settings.data_dir, KSHOT_HOST=".".join("0000")) as service:
        yield service


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}, {"X-API-Key": ""}]
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/models"), ("POST", "/v1/classify"), ("GET", "/metrics"), ("GET", "/no")]
)
def test_without_a_key_nothing_is_answered(keyed: Service, headers: dict[str, str], method: str, path: str) -> None:
    answer = httpx.request(method, f"{keyed.url}{path}", headers=headers)
    assert_refused(answer, NO_KEY, ["Authorization: Bearer KEY"], keyed)
    assert answer.headers["www-authenticate"] == 'Bearer realm="kshot"'


@pytest.mark.parametrize("text", ["k", "kshot_" + "0" * 16 + "_" + "A" * 43, "k" * 5000, "' OR 1=1 --", "\xff"])
def test_what_is_no_key_lets_nobody_in(keyed: Service, text: str) -> None:
    for headers in ({b"X-API-Key": text.encode("latin-1")}, {b"Authorization": f"Bearer {text}".encode("latin-1")}):
        answer = httpx.get(f"{keyed.url}/v1/models", headers=headers)
        assert_refused(answer, BAD_KEY, ["not one of this service"], keyed)
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_health_and_docs_need_no_key(keyed: Service) -> None:
    for path in ("/livez", "/readyz", "/version", "/docs", "/redoc", "/openapi.json"):
        assert httpx.get(f"{keyed.url}{path}").status_code == 200


def test_a_key_lets_in_to_what_its_scopes_are_for_and_to_nothing_else(keyed: Service, settings: Settings) -> None:
    texts = {scope: make(settings, scopes=[scope]) for scope in Scope}
    asks: dict[Scope, tuple[str, str, Any]] = {
        Scope.READ: ("POST", "/v1/classify", {**BODY, **IMAGES}),
        Scope.WRITE: ("POST", "/v1/classifiers", BODY),
        Scope.ADMIN: ("GET", "/metrics", None),
    }
    for needed, (method, path, body) in asks.items():
        for scope, text in texts.items():
            answer = httpx.request(method, f"{keyed.url}{path}", headers={"X-API-Key": text}, json=body, timeout=60)
            if scope is needed:
                assert answer.status_code in (200, 201), answer.text
            else:
                assert_refused(answer, NO_SCOPE, [f"the scopes {scope}", f"{needed} is needed"], keyed)
                assert f'scope="{needed}"' in answer.headers["www-authenticate"]


def test_the_document_says_what_each_operation_needs(keyed: Service, service: Service) -> None:
    document, open_one = (httpx.get(f"{one.url}/openapi.json").json() for one in (keyed, service))
    assert set(document["components"]["securitySchemes"]) == {"bearer", "api_key"}
    for path, entries in document["paths"].items():
        for method, operation in entries.items():
            public = needed_scope(method, path) is None
            assert ("security" in operation) is not public
            assert ({"401", "403", "429"} <= set(operation["responses"])) is not public
            assert {} not in operation.get("security", [])
            assert public or {} in open_one["paths"][path][method]["security"]


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("3/a.png", GOOD[0][1])
    return buffer.getvalue()


BODIES: dict[str, dict[str, Any]] = {
    "PATCH /v1/classifiers/{classifier_id}": {"json": {"name": "mine"}},
    "PATCH /v1/classifiers/{classifier_id}/examples/{example_id}": {"json": {"label": "3"}},
    "upload": {"files": [("files", ("a.png", GOOD[0][1]))], "data": {"labels": "3"}},
    "archive": {"files": {"archive": ("a.zip", zipped())}},
    "examples": {"json": {"examples": BODY["examples"][:1]}},
    "evaluate": {"json": {"examples": BODY["examples"][:1]}},
    "classify": {"json": IMAGES},
}


def body_of(operation: str) -> dict[str, Any]:
    return BODIES.get(operation) or BODIES.get(operation.rpartition("/")[2], {})


def test_to_another_tenant_nothing_is_there(keyed: Service, settings: Settings) -> None:
    mine, theirs = (make(settings, tenant=tenant) for tenant in ("mine", "theirs"))
    with keyed.client() as client:
        created = client.post("/v1/classifiers", json=BODY, headers=shown(mine)).json()
        listed = client.get(f"/v1/classifiers/{created['id']}/examples", headers=shown(mine)).json()
        values = {"classifier_id": created["id"], "example_id": listed["data"][0]["id"], "label": "3"}
        asked = 0
        for path, entries in client.get("/openapi.json").json()["paths"].items():
            for method in entries:
                if "{classifier_id}" not in path:
                    continue
                operation = f"{method.upper()} {path}"
                sent = {} if method in ("get", "delete") else body_of(operation)
                answer = client.request(method, path.format(**values), headers=shown(theirs), **sent)
                assert (answer.status_code, answer.json()["code"]) == (404, "unknown_classifier"), operation
                asked += 1
        assert asked >= 10
        assert client.get("/v1/classifiers", headers=shown(theirs)).json()["data"] == []
        entries = client.get("/v1/classifiers", headers=shown(mine)).json()["data"]
        assert [entry["id"] for entry in entries] == [created["id"]]
        assert client.get(f"/v1/classifiers/{created['id']}", headers=shown(mine)).json() == created


def test_who_asks_too_often_is_told_when_to_come_again(keyed: Service, settings: Settings) -> None:
    headers = shown(make(settings, requests_per_minute=3))
    with keyed.client() as client:
        answers = [client.get("/v1/models", headers=headers) for _ in range(4)]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert [answer.status_code for answer in answers[:3]] == [200] * 3
    assert_refused(answers[3], (429, "rate_limited"), ["more than its 3 requests a minute"], keyed)
    assert 15 <= int(answers[3].headers["retry-after"]) <= 20
    assert answers[3].headers["ratelimit-limit"] == "3"


def test_who_has_as_many_classifiers_as_the_key_allows_makes_no_more(keyed: Service, settings: Settings) -> None:
    headers = shown(make(settings, tenant="small", max_classifiers=1))
    with keyed.client() as client:
        first = client.post("/v1/classifiers", json=BODY, headers=headers)
        second = client.post("/v1/classifiers", json=BODY, headers=headers)
        assert_refused(second, (429, "quota_exceeded"), ["there are 1 classifiers, and at most 1"], keyed)
        assert int(second.headers["retry-after"]) > 0
        file = {"file": client.get(f"{first.headers['location']}/export", headers=headers).content}
        imported = client.post("/v1/classifiers/import", files=file, headers=headers)
        assert_refused(imported, (429, "quota_exceeded"), ["there are 1 classifiers, and at most 1"], keyed)
        assert client.delete(first.headers["location"], headers=headers).status_code == 204
        assert client.post("/v1/classifiers", json=BODY, headers=headers).status_code == 201


def kshot(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "service", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_makes_lists_and_revokes_keys_beside_a_running_service(tmp_path: Path) -> None:
    folder = ("--data-dir", str(tmp_path / "data"))
    with running(tmp_path / "data") as service, service.client() as client:
        assert client.get("/v1/models").status_code == 200
        made = kshot("keys", "create", "laptop", "--tenant", "team", *folder)
        text = made.stdout.strip()
        assert text.startswith("kshot_")
        assert "shown once" in made.stderr
        (row,) = json.loads(kshot("keys", "list", "--json", *folder).stdout)
        assert (row["name"], row["tenant"], row["scopes"]) == ("laptop", "team", ["read", "write"])
        assert row["id"] in kshot("keys", "list", *folder).stdout
        database = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("kshot.sqlite3*"))
        assert row["id"].encode() in database
        assert text.rpartition("_")[2].encode() not in database
        asyncio.run(asyncio.sleep(1.1))
        assert client.get("/v1/models").status_code == 401  # who makes a key wants it asked for
        assert client.get("/v1/models", headers=shown(text)).status_code == 200
        assert kshot("keys", "revoke", row["id"], *folder).returncode == 0
        refused = client.get("/v1/models", headers=shown(text))
        assert_refused(refused, BAD_KEY, ["has been revoked"], service)
    again = kshot("keys", "revoke", row["id"], *folder)
    assert again.returncode == 2
    assert "there is no key" in " ".join(again.stderr.split())
    assert kshot("keys", "create", " ", *folder).returncode == 2
