"""The pages are built without a warning, hold what they promise, and ask no other host."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from filelock import FileLock

from service.app import create_app
from service.settings import Fleet, Limits, Settings
from tests.docs.blocks import REPOSITORY
from tests.service.running import MODELS

pytestmark = pytest.mark.docs

DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once, by whichever worker comes first: some pages are written beside the others' sources."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            _build(folder)
    return folder


def _build(folder: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "--quiet", str(DOCS), str(folder)]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""


class Loaded(HTMLParser):
    """What a browser asks for on its own when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [value for name in ("src", "srcset", "poster") if (value := found.get(name))]
        if tag == "link" and found.get("href"):
            self.addresses.append(str(found["href"]))


def elsewhere(addresses: list[str]) -> list[str]:
    return [address for address in addresses if re.match(r"(https?:)?//", address)]


def test_no_page_asks_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text("utf-8"))
        assert any(address.endswith(".css") or ".css?" in address for address in loaded.addresses)
        assert elsewhere(loaded.addresses) == [], page
        assert "fonts.g" not in page.read_text("utf-8")
    for style in site.rglob("*.css"):
        text = style.read_text("utf-8")
        assert elsewhere(re.findall(r"(?:url\(|@import )[\"']?([^\"')]+)", text)) == [], style


def test_another_host_would_be_seen() -> None:
    loaded = Loaded()
    loaded.feed(
        '<link href="//a/b.css"><img src="c.png"><script src="https://d/e.js"></script><a href="https://f">f</a>'
    )
    assert elsewhere(loaded.addresses) == ["//a/b.css", "https://d/e.js"]


def test_every_model_has_its_card(site: Path) -> None:
    for card in MODELS.glob("*/card.json"):
        told = json.loads(card.read_text("utf-8"))
        page = (site / "cards" / f"{told['name']}.html").read_text("utf-8")
        assert f"{told['accuracy'][0]['accuracy']:.2f} ±" in page


def test_every_operation_and_every_shape_is_told(site: Path) -> None:
    page = (site / "api.html").read_text("utf-8")
    document = create_app(Settings()).openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"{method.upper()} {path} ({operation['operationId']})" in re.sub("<[^>]+>", "", page)
    assert 'href="#classifierout"' in page
    assert 'id="classifierout"' in page


def test_every_limit_and_every_setting_is_told() -> None:
    limits, settings = ((DOCS / f"{name}.md").read_text("utf-8") for name in ("limits", "operate"))
    for name, field in Limits.model_fields.items():
        default = "none" if field.default is None else f"{field.default:,}"
        assert f"| `{name}` | {default} | {field.description} |" in limits
    for name in Settings.model_fields.keys() - {"limits", "fleet"}:
        assert f"`KSHOT_{name.upper()}`" in settings
    for name in Fleet.model_fields:
        assert f"`KSHOT_FLEET__{name.upper()}`" in settings
