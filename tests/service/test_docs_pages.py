import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated, NamedTuple

import httpx
import pytest
from fastapi import FastAPI, File, Form, UploadFile

from service.docs_pages import add_docs
from tests.service.running import serving

PAGES = ["/docs", "/redoc"]
# A name, as Swagger UI behaves differently on a loopback address. Everything else has no address for the browser.
HOST = "kshot.test"
BROWSER_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--timeout=20000", "--virtual-time-budget=10000", "--enable-logging=stderr", "--dump-dom"),
    f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND",
]
# What a page loads without being asked: files of a kind that it shows or runs, and hosts that exist to be called.
FETCHED = re.compile(
    rb"https?://[^\s\"'`<>()\\/]+/[^\s\"'`<>()\\]+\.(?:svg|png|gif|jpe?g|ico|webp|woff2?|ttf|css|js)[\"'`?]"
    rb"|https?://(?:cdn|fonts|otel|static|telemetry|unpkg)\.[^\s\"'`<>()\\]+"
)


class Loaded(HTMLParser):
    """The addresses a page has its browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "a":
            self.urls += [value or "" for name, value in attrs if name in ("src", "href", "spec-url")]


class Visit(NamedTuple):
    """What a browser made of a page."""

    dom: str
    console: list[str]
    requests: set[str]


def _app() -> FastAPI:
    app = FastAPI(title="pets", docs_url=None, redoc_url=None)
    add_docs(app)

    @app.post("/v1/pets", operation_id="add_pets", summary="Add some pets")
    def add_pets(files: Annotated[list[UploadFile], File()], labels: Annotated[list[str], Form()]) -> dict[str, int]:
        return {"files": len(files), "labels": len(labels)}

    return app


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(_app()) as url, httpx.Client(base_url=url) as client:
        yield client


def _loaded(page: httpx.Response) -> list[str]:
    parser = Loaded()
    parser.feed(page.text)
    return parser.urls


def _policy(page: httpx.Response) -> dict[str, list[str]]:
    directives = [part.split() for part in page.headers["content-security-policy"].split(";")]
    return {name: sources for name, *sources in directives}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_names_no_other_host(client: httpx.Client, path: str) -> None:
    page = client.get(path)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "pets" in page.text
    assert "/openapi.json" in page.text
    assert "://" not in page.text
    assert all(re.match(r"/[^/]", url) for url in _loaded(page))


@pytest.mark.parametrize("path", PAGES)
def test_everything_a_page_loads_is_here_and_of_its_type(client: httpx.Client, path: str) -> None:
    types = {"js": "text/javascript", "css": "text/css", "ico": "image/svg+xml", "json": "application/json"}
    urls = _loaded(client.get(path))
    assert any(url.endswith("/favicon.ico") for url in urls)
    assert len(urls) == 3
    for url in urls:
        answer = client.get(url)
        assert answer.status_code == 200, url
        assert answer.headers["content-type"].split(";")[0] == types[url.split("?")[0].rsplit(".")[-1]]
        assert len(answer.content) > 100


@pytest.mark.parametrize("path", PAGES)
def test_what_a_page_loads_is_cached_under_an_address_that_changes_with_it(client: httpx.Client, path: str) -> None:
    assets = [url for url in _loaded(client.get(path)) if "/assets/" in url]
    assert assets
    for url in assets:
        assert re.search(r"\?v=[0-9a-f]{12}$", url)
        assert client.head(url).headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("path", PAGES)
def test_the_bundles_know_no_other_host_to_load_from(client: httpx.Client, path: str) -> None:
    for url in _loaded(client.get(path)):
        assert FETCHED.findall(client.get(url).content) == [], url


def test_the_style_sheet_loads_nothing(client: httpx.Client) -> None:
    (style,) = [url for url in _loaded(client.get("/docs")) if ".css" in url]
    text = client.get(style).text
    assert "@import" not in text
    assert {target[:5] for target in re.findall(r"url\([\"']?([^)]*)", text)} <= {"data:"}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_forbids_its_browser_every_other_host(client: httpx.Client, path: str) -> None:
    policy = _policy(client.get(path))
    assert policy["default-src"] == ["'self'"]
    assert {source for sources in policy.values() for source in sources} == {
        "'self'",
        "'unsafe-inline'",
        "data:",
        "blob:",
    }
    assert "data:" not in policy["script-src"] + policy["worker-src"]


def test_swagger_ui_does_not_have_the_document_judged_elsewhere(client: httpx.Client) -> None:
    assert '"validatorUrl": null' in client.get("/docs").text


def test_there_is_no_page_for_logins_of_another_host(client: httpx.Client) -> None:
    assert client.get("/docs/oauth2-redirect").status_code == 404
    assert "oauth2RedirectUrl" not in client.get("/docs").text


def test_the_icon_is_where_browsers_look_for_it_unasked(client: httpx.Client) -> None:
    icon = client.get("/favicon.ico")
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")
    assert icon.text.startswith("<svg ")
    assert "max-age" in icon.headers["cache-control"]


def test_the_pages_are_not_part_of_the_api(client: httpx.Client) -> None:
    assert list(client.get("/openapi.json").json()["paths"]) == ["/v1/pets"]


def test_behind_a_prefix_every_address_has_it() -> None:
    with serving(_app(), root_path="/few/shot/") as url:
        for path in PAGES:
            page = httpx.get(f"{url}{path}")
            assert all(address.startswith("/few/shot/") for address in _loaded(page))
            assert "/few/shot/openapi.json" in page.text


@pytest.mark.parametrize("app", [FastAPI(), FastAPI(docs_url=None), FastAPI(redoc_url=None)])
def test_an_app_with_pages_from_a_cdn_is_refused(app: FastAPI) -> None:
    with pytest.raises(ValueError, match="docs_url=redoc_url=None"):
        add_docs(app)


def _visit(url: str, folder: Path) -> Visit:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.fail("there is no chromium on the PATH")
    log = folder / "net.json"
    flags = [*BROWSER_FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    done = subprocess.run([browser, *flags, url], capture_output=True, text=True, timeout=120, check=True)
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    # The browser's own requests, for updates and the like, have no origin.
    requests = {str(event["url"]) for event in events if "url" in event and HOST in str(event.get("initiator"))}
    return Visit(done.stdout, re.findall(r"CONSOLE.*", done.stderr), requests)


@pytest.mark.browser
@pytest.mark.parametrize(("path", "evidence"), [("/docs", 'id="operations-default-add_pets"'), ("/redoc", "add_pets")])
def test_a_browser_shows_the_page_and_asks_no_other_host(
    client: httpx.Client, tmp_path: Path, path: str, evidence: str
) -> None:
    visit = _visit(f"http://{HOST}:{client.base_url.port}{path}", tmp_path)
    assert evidence in visit.dom
    assert "Add some pets" in visit.dom
    assert visit.console == []
    assert {httpx.URL(url).path for url in visit.requests} >= {"/openapi.json"}
    assert {httpx.URL(url).host for url in visit.requests} == {HOST}
