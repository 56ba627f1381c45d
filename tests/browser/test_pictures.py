"""The ways in and out of a class: dropped, pasted, from the camera, moved, removed."""

import base64
from pathlib import Path

import pytest
from playwright.sync_api import JSHandle, Locator, Page, expect

from tests.browser.driving import Seen
from tests.browser.pictures import Shown
from tests.service.running import Service

pytestmark = pytest.mark.browser

_TRANSFER = """files => {
  const transfer = new DataTransfer();
  for (const [name, base64] of files) {
    const bytes = Uint8Array.from(atob(base64), character => character.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
  }
  return transfer;
}"""


def _transfer(page: Page, files: list[Path]) -> JSHandle:
    """Files as a drop or a clipboard holds them."""
    return page.evaluate_handle(
        _TRANSFER, [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files]
    )


def _drop(page: Page, place: Locator, files: list[Path]) -> None:
    transfer = _transfer(page, files)
    place.dispatch_event("dragover", {"dataTransfer": transfer})
    place.dispatch_event("drop", {"dataTransfer": transfer})


def _paste(page: Page, files: list[Path]) -> None:
    page.evaluate(
        "data => document.activeElement.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }))",
        _transfer(page, files),
    )


def test_dropped_pictures_go_where_they_are_dropped(seen_page: Seen, photos: Shown) -> None:
    page = seen_page.page
    _drop(page, seen_page.class_card("Class 1"), photos.files[0][:2])
    _drop(page, seen_page.class_card("Class 2"), photos.files[1][:2])
    _drop(page, page.get_by_role("region", name="Ask"), photos.files[0][2:3])
    seen_page.is_ready(classes=2, pictures=4)
    expect(seen_page.answers.get_by_role("heading", level=3)).to_have_text("Class 1")


def test_dropped_folders_become_classes_of_their_names(seen_page: Seen, photos: Shown) -> None:
    folders = [files[0].parent for files in photos.files]
    box = seen_page.page.get_by_role("button", name="Add a class").bounding_box()
    assert box is not None
    devtools = seen_page.page.context.new_cdp_session(seen_page.page)  # scripts cannot make a drop with folders
    for event in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(folder) for folder in folders], "dragOperationsMask": 1}
        given = {"type": event, "x": box["x"] - 5, "y": box["y"], "data": data}
        devtools.send("Input.dispatchDragEvent", given)
    seen_page.is_ready(classes=3, pictures=sum(map(len, photos.files)))
    for name, files in zip(photos.names, photos.files, strict=True):
        expect(seen_page.tiles(name)).to_have_count(len(files))


def test_a_chosen_folder_fills_its_class(seen_page: Seen, photos: Shown) -> None:
    folders = [files[0].parent for files in photos.files[:2]]
    for number, folder in enumerate(folders, start=1):
        seen_page.page.get_by_label(f"A folder for Class {number}", exact=True).set_input_files(folder)
    seen_page.is_ready(classes=2, pictures=sum(len(list(folder.iterdir())) for folder in folders))


def test_files_that_are_no_pictures_are_left_out_aloud(seen_page: Seen, photos: Shown, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("a list")
    seen_page.show("Class 1", [notes, *photos.files[0][:1]])
    expect(seen_page.page.get_by_text("1 file left out: not a picture.").first).to_be_visible()
    expect(seen_page.tiles("Class 1")).to_have_count(1)


def test_pasted_pictures_go_where_the_user_is(seen_page: Seen, photos: Shown) -> None:
    page = seen_page.page
    for name, files in zip(("Class 1", "Class 2"), photos.files, strict=False):
        seen_page.class_card(name).get_by_role("button", name="Files").focus()
        _paste(page, files[:2])
    page.get_by_role("region", name="Ask").get_by_role("button", name="Files").focus()
    _paste(page, photos.files[1][3:4])
    seen_page.is_ready(classes=2, pictures=4)
    expect(seen_page.answers.get_by_role("heading", level=3)).to_have_text("Class 2")


def test_the_camera_takes_pictures_of_a_class_and_to_ask_about(seen_page: Seen, photos: Shown) -> None:
    page = seen_page.page
    seen_page.show("Class 2", photos.files[0][:2])
    seen_page.class_card("Class 1").get_by_role("button", name="Camera").click()
    expect(page.get_by_role("dialog", name="Camera: pictures of “Class 1”")).to_be_visible()
    for number in (1, 2):
        page.get_by_role("button", name="Take a picture").click()
        expect(page.get_by_role("dialog")).to_contain_text(f"{number} picture")
    seen_page.looked_at("5-camera")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    seen_page.is_ready(classes=2, pictures=4)
    page.get_by_role("region", name="Ask").get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take a picture").click()
    page.keyboard.press("Escape")
    expect(seen_page.answers.get_by_role("list", name="Probabilities")).to_contain_text("Class 1")


def test_a_picture_is_moved_by_keyboard_alone(seen_page: Seen, photos: Shown) -> None:
    page = seen_page.page
    seen_page.two_classes(photos.names[:2], [photos.files[0][:3], photos.files[1][:3]])
    seen_page.tiles(photos.names[0]).first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name=photos.files[0][0].name)).to_be_visible()
    seen_page.looked_at("6-example")
    page.get_by_role("dialog").get_by_role("button", name=photos.names[1]).focus()
    page.keyboard.press("Enter")
    expect(seen_page.tiles(photos.names[0])).to_have_count(2)
    expect(seen_page.tiles(photos.names[1])).to_have_count(4)
    expect(seen_page.class_card(photos.names[1]).get_by_title(photos.files[0][0].name)).to_be_focused()
    seen_page.tiles(photos.names[1]).last.focus()
    page.keyboard.press("Delete")
    seen_page.is_ready(classes=2, pictures=5)


def test_a_picture_is_dragged_to_another_class(seen_page: Seen, photos: Shown, open_service: Service) -> None:
    one, two = photos.names[:2]
    seen_page.two_classes([one, two], [photos.files[0][:3], photos.files[1][:3]])
    seen_page.tiles(one).first.drag_to(seen_page.class_card(two))
    expect(seen_page.tiles(two)).to_have_count(4)
    expect(seen_page.page.get_by_label("What was done")).to_have_value("Move an example to another class")
    with open_service.client() as client:
        labels = client.get(f"/v1/classifiers/{seen_page.page.url.split('#')[1]}").json()["labels"]
    assert {each["label"]: each["shots"] for each in labels} == {one: 2, two: 4}


def test_the_last_class_but_one_stays_and_the_page_says_why(seen_page: Seen, photos: Shown) -> None:
    seen_page.two_classes(photos.names[:2], [photos.files[0][:2], photos.files[1][:2]])
    seen_page.page.get_by_role("button", name=f"Remove the class {photos.names[0]}").click()
    seen_page.page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
    expect(seen_page.page.get_by_role("alert")).to_contain_text("A classifier needs pictures of two classes.")
    expect(seen_page.tiles(photos.names[0])).to_have_count(2)


def test_a_class_is_renamed_and_no_two_have_one_name(seen_page: Seen, photos: Shown, open_service: Service) -> None:
    seen_page.two_classes(["one", "two"], [photos.files[0][:2], photos.files[1][:2]])
    seen_page.name_class(0, "first")
    expect(seen_page.page.locator(".legend")).to_contain_text("first")
    with open_service.client() as client:
        labels = client.get(f"/v1/classifiers/{seen_page.page.url.split('#')[1]}").json()["labels"]
    assert {label["label"] for label in labels} == {"first", "two"}
    seen_page.name_class(0, "two")
    expect(seen_page.class_card("first").get_by_role("alert")).to_contain_text("There is a class “two” already.")


def test_an_asked_picture_becomes_an_example_of_what_it_is(seen_page: Seen, photos: Shown) -> None:
    one, two = photos.names[:2]
    seen_page.two_classes([one, two], [photos.files[0][:2], photos.files[1][:2]])
    seen_page.ask(photos.files[0][3:4])
    seen_page.answers.get_by_label("Make it an example of").select_option(one)
    expect(seen_page.tiles(one)).to_have_count(3)
    expect(seen_page.answers).to_have_count(0)
    seen_page.is_ready(classes=2, pictures=5)


def test_a_name_that_is_being_typed_stays_while_pictures_arrive(seen_page: Seen, photos: Shown) -> None:
    box = seen_page.page.get_by_label("Name of this class").first
    box.click()
    box.press("Control+a")
    seen_page.page.keyboard.type("half a na")
    seen_page.show("Class 2", photos.files[1][:2])
    expect(seen_page.tiles("Class 2").locator("img")).to_have_count(2)
    expect(box).to_have_value("half a na")
