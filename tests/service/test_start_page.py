import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service import start_page
from tests.service.running import REPOSITORY, serving

_FOLDER = Path(start_page.__file__).with_name("page")


def _app(folder: Path | None = None) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None)
    start_page.add_start_page(app, folder=folder)
    return app


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(_app()) as url, httpx.Client(base_url=url) as client:
        yield client


def _loaded(client: httpx.Client) -> list[str]:
    return re.findall(r'(?:src|href)="(page/[^"]+)"', client.get("/").text)


def test_the_page_may_ask_this_host_alone_and_runs_nothing_that_stands_in_it(client: httpx.Client) -> None:
    page = client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[kind] for kind in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy["img-src"] == "'self' blob: data:"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page.text) is None


def test_the_page_leads_to_the_documentation(client: httpx.Client) -> None:
    assert 'href="docs"' in client.get("/").text


def test_everything_that_the_page_loads_is_here_of_its_type_and_cached_for_good(client: httpx.Client) -> None:
    urls = _loaded(client)
    assert len(urls) > 10
    for url in urls:
        answer = client.get(f"/{url}")
        assert answer.status_code == 200, url
        assert answer.headers["content-type"].split(";")[0] == ("text/css" if ".css" in url else "text/javascript")
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_modules_import_nothing_but_each_other(client: httpx.Client) -> None:
    urls = _loaded(client)
    for url in urls:
        for imported in re.findall(
            r'^(?:import|export)[^;"]* from "([^"]+)"', client.get(f"/{url}").text, re.MULTILINE
        ):
            assert str(httpx.URL(f"http://host/{url}").join(imported)).removeprefix("http://host/") in urls


def test_no_file_of_ours_names_another_host(client: httpx.Client) -> None:
    for url in _loaded(client):
        found = re.findall(r"https?://[\w.-]+", client.get(f"/{url}").text)
        assert set(found) <= {"http://www.w3.org"}, url  # the name of SVG, which nothing is loaded from


def test_the_page_holds_under_any_prefix(client: httpx.Client) -> None:
    assert re.search(r'(?:src|href)="/', client.get("/").text) is None


def test_a_file_of_another_version_is_answered_but_not_kept(client: httpx.Client) -> None:
    name = _loaded(client)[0].split("/", 2)[2]
    assert client.get(f"/page/000000000000/{name}").headers["cache-control"] == "no-cache"


def test_only_files_of_the_page_are_given_out(client: httpx.Client) -> None:
    for name in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "nothing.js", "", "index.html"):
        assert client.get(f"/page/x/{name}", follow_redirects=True).status_code == 404


def test_the_licences_of_what_is_not_ours_are_beside_it(client: httpx.Client) -> None:
    for name in ("preact", "signals", "htm"):
        assert "icense" in client.get(f"/page/x/vendor/LICENSE.{name}.txt").text


def test_a_page_that_was_not_built_says_what_makes_it_and_nothing_else_fails(tmp_path: Path) -> None:
    folder = tmp_path / "page"
    shutil.copytree(_FOLDER, folder, ignore=shutil.ignore_patterns("vendor"))
    assert start_page.is_built()
    assert not start_page.is_built(folder)
    with serving(_app(folder)) as url, httpx.Client(base_url=url) as client:
        page = client.get("/")
        assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert "make install" in page.text
        assert "vendor/preact.js" in page.text
        for address in re.findall(r'href="(page/[^"]+)"', page.text):
            assert client.get(f"/{address}").status_code == 200
        assert client.get("/openapi.json").status_code == 200


def test_what_the_page_is_built_on_is_pinned_by_hash_and_names_no_host() -> None:
    lock = (REPOSITORY / "page-vendor" / "package-lock.json").read_text()
    assert "://" not in lock
    packages = {name: each for name, each in json.loads(lock)["packages"].items() if name}
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
