"""A real Chromium, and the page in it as a user has it before their eyes."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from tests.service.running import REPOSITORY

SCREENSHOTS = REPOSITORY / "screenshots"
"""Of each state, to be looked at."""

_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-dev-shm-usage", "--use-fake-device-for-media-stream"),
    "--use-fake-ui-for-media-stream",
]
_WIDE, _PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
_PATIENCE_MS = 30_000
_LOOKS = (("light", _WIDE), ("dark", _WIDE), ("light", _PHONE), ("dark", _PHONE))

expect.set_options(timeout=_PATIENCE_MS)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Fails where there is none: what is not tried may not pass."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.fail("there is no chromium on the PATH; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        browser.close()


@dataclass
class Seen:
    """The page as it is used: its parts by the names that a screen reader gives them.

    Attributes:
        page: Playwright's.
        asked: every address that the browser was asked for.
        console: every complaint of the browser.
    """

    page: Page
    asked: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    @property
    def standing(self) -> Locator:
        return self.page.locator(".standing")

    @property
    def answers(self) -> Locator:
        return self.page.get_by_role("list", name="Answers").locator("> li")

    def class_card(self, name: str) -> Locator:
        return self.page.get_by_role("article", name=f"Class {name}", exact=True)

    def tiles(self, name: str) -> Locator:
        return self.class_card(name).get_by_role("button", name="Picture")

    def name_class(self, number: int, name: str) -> None:
        box = self.page.get_by_label("Name of this class").nth(number)
        box.fill(name)
        box.press("Enter")

    def show(self, name: str, files: Sequence[Path]) -> None:
        self.page.get_by_label(f"Files for {name}", exact=True).set_input_files(files)

    def ask(self, files: Sequence[Path]) -> None:
        self.page.get_by_label("Files to ask about", exact=True).set_input_files(files)

    def two_classes(self, names: Sequence[str], files: Sequence[Sequence[Path]]) -> None:
        """Named and filled, and the classifier is there."""
        for number, (name, of_class) in enumerate(zip(names, files, strict=True)):
            self.name_class(number, name)
            self.show(name, of_class)
        self.is_ready(classes=2, pictures=sum(map(len, files)))

    def is_ready(self, *, classes: int, pictures: int) -> None:
        expect(self.standing).to_have_text(f"Ready · {classes} classes, {pictures} pictures")

    def looked_at(self, state: str) -> None:
        """A picture of every look, which axe finds nothing wrong with."""
        for scheme, size in _LOOKS:
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            self.page.set_viewport_size(size)  # type: ignore[arg-type]
            device = "phone" if size is _PHONE else "wide"
            found = Axe().run(self.page)
            assert found.violations_count == 0, f"{state}, {scheme}, {device}: {found.generate_report()}"
            assert self.page.evaluate("document.documentElement.scrollWidth") <= size["width"], (state, device)
            self.page.evaluate("scrollTo(0, 0)")
            dialog = self.page.locator("dialog[open]").count() > 0
            SCREENSHOTS.mkdir(exist_ok=True)
            path = SCREENSHOTS / f"{state}-{device}-{scheme}.png"
            self.page.screenshot(path=path, full_page=not dialog)
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size(_WIDE)  # type: ignore[arg-type]

    def stayed_here(self, url: str, *, complaints: Sequence[str] = ()) -> None:
        """No request left the host, and the browser complained of nothing but these."""
        assert self.asked
        assert {urlsplit(address).netloc for address in self.asked} == {urlsplit(url).netloc}
        left = [text for text in self.console if not any(each in text for each in complaints)]
        assert left == []


@contextlib.contextmanager
def seen(browser: Browser, url: str) -> Iterator[Seen]:
    """The page at `url` in a window of its own, with nothing remembered."""
    context = browser.new_context(viewport=_WIDE, accept_downloads=True)  # type: ignore[arg-type]
    context.set_default_timeout(_PATIENCE_MS)
    watched = Seen(context.new_page())

    def note(request: Request) -> None:
        if urlsplit(request.url).scheme not in ("blob", "data"):
            watched.asked.append(request.url)

    def complain(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            watched.console.append(message.text)

    context.on("request", note)
    watched.page.on("console", complain)
    watched.page.on("pageerror", lambda error: watched.console.append(f"{error}"))
    watched.page.goto(url)
    yield watched
    context.close()
