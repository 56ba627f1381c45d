"""What becomes of a classifier: kept, opened again, renamed, deleted, given to programs; and who may."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.driving import Seen, seen
from tests.browser.pictures import Shown
from tests.service.running import REPOSITORY, Service, running

pytestmark = pytest.mark.browser


def test_a_classifier_is_opened_again_with_its_pictures_renamed_and_deleted(seen_page: Seen, photos: Shown) -> None:
    page = seen_page.page
    mine = page.get_by_role("navigation", name="My classifiers")
    seen_page.two_classes(photos.names[:2], [photos.files[0][:2], photos.files[1][:2]])
    seen_page.show(photos.names[0], photos.files[0][2:3])
    seen_page.is_ready(classes=2, pictures=5)
    page.reload()
    seen_page.is_ready(classes=2, pictures=5)
    expect(seen_page.tiles(photos.names[0]).locator("img")).to_have_count(3)
    expect(page.locator("#model")).to_be_disabled()

    mine.get_by_role("button", name="Rename").first.click()
    page.get_by_role("dialog", name="Rename").get_by_label("Name").fill("a new name")
    seen_page.looked_at("7-rename")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name of the classifier")).to_have_value("a new name")

    mine.get_by_role("button", name="New", exact=True).click()
    expect(seen_page.standing).to_have_text("Waiting for pictures of two classes")
    page.go_back()
    seen_page.is_ready(classes=2, pictures=5)

    page.get_by_role("region", name="The classifier").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog", name="Delete “a new name”?").get_by_role("button", name="Delete").click()
    expect(mine).not_to_contain_text("a new name")
    expect(seen_page.standing).to_have_text("Waiting for pictures of two classes")


def test_an_exported_classifier_is_imported(
    seen_page: Seen, photos: Shown, open_service: Service, tmp_path: Path
) -> None:
    seen_page.two_classes(photos.names[:2], [photos.files[0][:2], photos.files[1][:2]])
    identifier = seen_page.page.url.split("#")[1]
    file = tmp_path / "mine.safetensors"
    with open_service.client() as client:
        file.write_bytes(client.get(f"/v1/classifiers/{identifier}/export").content)
    seen_page.page.get_by_label("A classifier's file").set_input_files(file)
    expect(seen_page.page).not_to_have_url(f"{open_service.url}/#{identifier}")
    seen_page.is_ready(classes=2, pictures=4)
    expect(seen_page.tiles(photos.names[0]).first).to_contain_text("no copy here")


def test_another_model_is_given_the_same_pictures(seen_page: Seen, photos: Shown, open_service: Service) -> None:
    seen_page.two_classes(photos.names[:2], [photos.files[0][:2], photos.files[1][:2]])
    before = seen_page.page.url
    seen_page.page.locator("#model").select_option("auto")
    expect(seen_page.page).not_to_have_url(before)
    seen_page.is_ready(classes=2, pictures=4)
    expect(seen_page.page.locator("#model-hint")).to_contain_text("auto: the best, or as good as any")
    with open_service.client() as client:
        assert client.get(f"/v1/classifiers/{before.split('#')[1]}").status_code == 404


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_the_code_that_is_shown_does_what_was_done(
    seen_page: Seen, photos: Shown, tmp_path: Path, language: str
) -> None:
    seen_page.two_classes(["it's one", 'say "two", or more'], [photos.files[0][:2], photos.files[1][:2]])
    for file in (*photos.files[0][:3], *photos.files[1][:2]):
        (tmp_path / file.name).symlink_to(file)
    seen_page.ask(photos.files[0][2:3])
    expect(seen_page.answers.get_by_role("heading", level=3)).to_have_text("it's one")
    seen_page.page.get_by_role("button", name=language, exact=True).click()
    for deed, said in (("Create a classifier from 4 pictures", "it's one"), ("Classify 1 picture", "probability")):
        seen_page.page.get_by_label("What was done").select_option(deed)
        code = seen_page.page.locator(".code pre").inner_text()
        programs = {
            "curl": ["bash", "-c", code],
            "Python": [sys.executable, "-c", code],
            "JavaScript": [str(Path(sys.executable).with_name("node")), "--input-type=module", "-e", code],
        }
        done = subprocess.run(programs[language], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    """A service that asks for keys, and its data folder, where they are made."""
    data = tmp_path_factory.mktemp("guarded") / "data"
    with running(data, KSHOT_AUTH="keys") as service:
        yield service, data


def _key(data: Path, *options: str) -> str:
    command = [sys.executable, "-m", "service", "keys", "create", "laptop", "--data-dir", str(data), *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()


def _give(page: Seen, key: str) -> None:
    page.page.get_by_role("dialog").get_by_label("Key").fill(key)
    page.page.get_by_role("dialog").get_by_role("button", name="Use this key").click()


def test_a_key_is_asked_for_and_kept_by_the_tab_alone(
    browser: Browser, photos: Shown, guarded: tuple[Service, Path]
) -> None:
    service, data = guarded
    key = _key(data)
    with seen(browser, service.url) as page:
        dialog = page.page.get_by_role("dialog")
        expect(dialog).to_have_accessible_name("This service asks for a key")
        page.looked_at("8-key")
        _give(page, "kshot_wrong")
        expect(dialog).to_have_accessible_name("That key was not taken")
        _give(page, key)
        expect(dialog).to_have_count(0)
        page.two_classes(photos.names[:2], [photos.files[0][:1], photos.files[1][:1]])
        assert key not in page.page.content()
        assert key not in page.page.evaluate("JSON.stringify(localStorage) + document.cookie")
        page.page.reload()
        page.is_ready(classes=2, pictures=2)
        page.page.get_by_role("button", name="Forget key").click()
        page.page.reload()
        expect(dialog).to_have_accessible_name("This service asks for a key")
        page.stayed_here(service.url, complaints=["status of 401"])


def test_a_key_that_asks_too_often_sees_when_it_may_again(browser: Browser, guarded: tuple[Service, Path]) -> None:
    service, data = guarded
    key = _key(data, "--requests-per-minute", "20")
    with seen(browser, service.url) as page, service.client() as client:
        _give(page, key)
        model = page.page.get_by_label("Model")
        expect(model).to_have_value("omniglot-protonet")
        while client.get("/v1/models", headers={"X-API-Key": key}).status_code == 200:
            pass
        page.page.reload()
        messages = page.page.get_by_role("region", name="Messages")
        expect(messages).to_contain_text("Asking again in 3 seconds.")
        expect(messages).to_contain_text("Asking again in 2 seconds.")
        page.looked_at("9-waiting")
        expect(model).to_have_value("omniglot-protonet")
        page.page.reload()
        messages.get_by_role("button", name="Stop").click()
        expect(page.page.get_by_role("alert")).to_contain_text("Wait a little, then try again.")
        page.stayed_here(service.url, complaints=["status of 401", "status of 429"])


def test_a_service_that_is_gone_is_said_and_asked_again(browser: Browser, photos: Shown, tmp_path: Path) -> None:
    with running(tmp_path / "data") as service, seen(browser, service.url) as page:
        page.two_classes(photos.names[:2], [photos.files[0][:1], photos.files[1][:1]])
        page.page.route("**/v1/**", lambda route: route.abort())
        page.show(photos.names[0], photos.files[0][1:2])
        alert = page.page.get_by_role("alert").filter(has_text="The service does not answer")
        expect(alert).to_contain_text("See whether kshot still runs")
        page.page.unroute("**/v1/**")
        alert.get_by_role("button", name="Try again").click()
        page.is_ready(classes=2, pictures=3)
