"""The page as a user goes through it, in a real browser, with real pictures."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.driving import Seen
from tests.browser.pictures import Shown
from tests.service.running import Service

pytestmark = pytest.mark.browser


def test_a_whole_session_from_the_first_picture_to_the_exported_file(
    seen_page: Seen, photos: Shown, open_service: Service, tmp_path: Path
) -> None:
    one, two, three = photos.names
    first, second, third = photos.files
    expect(seen_page.standing).to_have_text("Waiting for pictures of two classes")
    expect(seen_page.page.locator("#model option")).to_have_count(3)  # auto, and both that are loaded
    seen_page.looked_at("1-empty")

    seen_page.name_class(0, one)
    seen_page.show(one, first[:5])
    seen_page.ask([first[6]])
    expect(seen_page.standing).to_have_text("Waiting for a picture of a second class")
    expect(seen_page.answers).to_contain_text("Answered as soon as two classes have a picture")

    seen_page.name_class(1, two)
    seen_page.show(two, [*second[:5], first[5]])  # the last is of the other class
    seen_page.is_ready(classes=2, pictures=11)
    expect(seen_page.answers.get_by_role("heading", level=3)).to_have_text(one)
    seen_page.ask([second[6], photos.strangers[0]])
    expect(seen_page.answers.get_by_role("heading", level=3)).to_have_text([two, "None of these", one])
    expect(seen_page.answers.nth(0).get_by_role("list", name="Probabilities")).to_contain_text("none of these")
    expect(seen_page.answers.nth(0).get_by_role("button", name=f"{two}, distance")).not_to_have_count(0)
    seen_page.looked_at("2-answered")
    says_none = seen_page.page.get_by_label("Say “none of these”")
    none = seen_page.answers.get_by_role("heading", name="None of these")
    says_none.select_option("never")
    expect(none).to_have_count(0)
    expect(seen_page.answers.nth(1)).to_contain_text("Perhaps none of these")
    says_none.select_option("where the model advises it")
    expect(none).to_have_count(1)

    seen_page.page.get_by_role("button", name="Add a class").click()
    seen_page.name_class(2, three)
    seen_page.show(three, third[:5])
    seen_page.is_ready(classes=3, pictures=16)
    seen_page.ask([third[6]])
    expect(seen_page.answers.first.get_by_role("heading", level=3)).to_have_text(three)

    suspect = seen_page.page.get_by_role("listitem").filter(has_text=f"Shown as {two}, looks like {one}")
    figure = seen_page.page.locator(".figure strong")
    before = figure.inner_text()
    suspect.get_by_role("button", name=f"Move to {one}").click()
    expect(seen_page.tiles(one)).to_have_count(6)
    expect(seen_page.tiles(two)).to_have_count(5)
    expect(suspect).to_have_count(0)
    expect(figure).not_to_have_text(before)  # one less is told wrong
    seen_page.looked_at("3-corrected")

    seen_page.page.get_by_label("Name of the classifier").fill("my first")
    seen_page.page.get_by_label("Name of the classifier").press("Enter")
    expect(seen_page.page.get_by_role("navigation", name="My classifiers")).to_contain_text("my first")
    seen_page.page.locator("summary", has_text="Export").click()
    with seen_page.page.expect_download() as download:
        seen_page.page.get_by_role("button", name=".safetensors").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name == "my-first.safetensors"
    assert file.stat().st_size > 1000
    with open_service.client() as client:
        taken = client.post("/v1/classifiers/import", files={"file": file.read_bytes()}).json()
    assert [label["label"] for label in taken["labels"]] == [one, two, three]
    seen_page.stayed_here(open_service.url)


def test_one_picture_of_each_class_is_enough(seen_page: Seen, photos: Shown) -> None:
    seen_page.two_classes(photos.names[:2], [files[:1] for files in photos.files[:2]])
    seen_page.ask([photos.files[1][3]])
    expect(seen_page.answers.get_by_role("heading", level=3)).to_have_text(photos.names[1])


def test_a_broken_file_is_named_and_all_others_are_taken(
    seen_page: Seen, photos: Shown, open_service: Service, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    long = "a name of a class that is longer than any place for it, as Donaudampfschifffahrtsgesellschaften like them"
    seen_page.name_class(0, long)
    seen_page.show(long, [*photos.files[0][:2], broken])
    seen_page.name_class(1, photos.names[1])
    seen_page.show(photos.names[1], photos.files[1][:2])
    alert = seen_page.page.get_by_role("alert")
    expect(alert).to_contain_text("“broken.jpg”: the picture cannot be decoded")
    expect(alert).to_contain_text("Remove here what is broken, or save it as JPEG or PNG")
    seen_page.is_ready(classes=2, pictures=4)
    seen_page.ask([broken])
    expect(seen_page.answers).to_contain_text("broken.jpg cannot be answered.")
    seen_page.page.get_by_role("button", name=f"Remove the class {long}").click(trial=True)  # nothing lies over it
    seen_page.looked_at("4-broken")
    seen_page.stayed_here(open_service.url, complaints=["status of 422"])
