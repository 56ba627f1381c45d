"""The page for those who use no mouse, and the page where it was not built."""

import shutil
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, expect

from service import start_page
from service.docs_pages import add_docs
from tests.browser.driving import Seen, seen
from tests.service.running import serving

pytestmark = pytest.mark.browser

_FOCUSED = """() => {
  const found = document.activeElement;
  const name = found.ariaLabel ?? found.labels?.[0]?.textContent ?? found.textContent;
  const seen = getComputedStyle(found).outlineStyle !== "none" && found.getBoundingClientRect().width > 0;
  return { name: name.trim(), seen, listed: found.closest("#library li") !== null };
}"""
_MOST = 150


def test_the_focus_goes_through_the_page_in_reading_order_and_is_always_seen(seen_page: Seen) -> None:
    page = seen_page.page
    expect(page.locator("#model option")).to_have_count(3)
    names: list[str] = []
    while (not names or names[-1] != "Say “none of these”") and len(names) < _MOST:
        page.keyboard.press("Tab")
        focused = page.evaluate(_FOCUSED)
        assert focused["seen"], focused
        if not focused["listed"]:
            names.append(focused["name"])
    ways = ("Files", "Folder", "Camera")
    of_classes = [
        [each, f"Remove the class {name}", *(f"{way} for {name}" for way in ways)]
        for each, name in (("Name of this class", "Class 1"), ("Name of this class", "Class 2"))
    ]
    top = ["Skip to the pictures", "kshot", "API docs", "New", "Import a file", "Name of the classifier", "Model"]
    asking = ["Add a class", *(f"{way} to ask about" for way in ways), "Say “none of these”"]
    assert names == [*top, *of_classes[0], *of_classes[1], *asking]


def test_the_first_tab_leads_past_everything_to_the_pictures(seen_page: Seen) -> None:
    page = seen_page.page
    expect(page.locator("#model option")).to_have_count(3)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_a_page_that_was_not_built_can_be_read(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    shutil.copytree(Path(start_page.__file__).with_name("page"), folder, ignore=shutil.ignore_patterns("vendor"))
    app = FastAPI(docs_url=None, redoc_url=None)
    add_docs(app)
    start_page.add_start_page(app, folder=folder)
    with serving(app) as url, seen(browser, url) as page:
        expect(page.page.get_by_role("heading", level=1)).to_have_text("The page was not built")
        page.looked_at("10-not-built")
        page.stayed_here(url, complaints=["status of 503"])
