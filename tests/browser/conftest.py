from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.driving import Seen, chromium, seen
from tests.browser.pictures import Shown, pictures
from tests.conftest import DATA
from tests.service.running import MODELS, Service, running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return pictures(DATA, tmp_path_factory.mktemp("pictures") / "shown")


@pytest.fixture(scope="session")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests of the page, with the model for photos and one for drawings, and without keys."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("photos", "omniglot-protonet"):
        (folder / name).symlink_to(MODELS / name)
    with running(tmp_path_factory.mktemp("page") / "data", models_dir=folder) as started:
        yield started


@pytest.fixture
def seen_page(browser: Browser, open_service: Service) -> Iterator[Seen]:
    with seen(browser, open_service.url) as page:
        yield page
