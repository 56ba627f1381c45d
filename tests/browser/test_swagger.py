"""Swagger UI's “Try it out” on the real document: what it sends is what the service takes."""

import json

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.driving import Seen
from tests.browser.pictures import Shown
from tests.service.running import Service

pytestmark = pytest.mark.browser


def _opened(page: Seen, operation: str) -> Locator:
    block = page.page.locator(f"[id$='-{operation}']")
    block.locator(".opblock-summary-control").click()
    return block


def _executed(block: Locator) -> tuple[str, dict[str, object]]:
    """The status and the body that Swagger UI shows."""
    block.get_by_role("button", name="Execute").click()
    answer = block.locator(".live-responses-table .response")
    expect(answer.locator(".response-col_status").first).to_contain_text("20")
    body = answer.locator(".highlight-code code, .highlight-code pre").first.inner_text()
    return answer.locator(".response-col_status").first.inner_text(), json.loads(body)


def test_files_are_created_from_and_classified_by_try_it_out(
    seen_page: Seen, photos: Shown, open_service: Service
) -> None:
    seen_page.page.goto(f"{open_service.url}/docs")
    create = _opened(seen_page, "create_classifier_upload")
    files = [photos.files[0][0], photos.files[1][0], photos.files[1][1]]
    labels = [photos.names[0], photos.names[1], photos.names[1]]
    for row, values in (("files", files), ("labels", labels)):
        field = create.locator(f"tr[data-property-name='{row}']")
        for number, value in enumerate(values):
            while field.locator("input").count() <= number:
                field.get_by_role("button", name="Add").click()
            given = field.locator("input").nth(number)
            given.set_input_files(value) if row == "files" else given.fill(str(value))
    status, created = _executed(create)
    assert status.startswith("201")
    assert created["labels"] == [{"label": photos.names[0], "shots": 1}, {"label": photos.names[1], "shots": 2}]

    classify = _opened(seen_page, "classify_upload")
    classify.get_by_placeholder("classifier_id").fill(str(created["id"]))
    queries = classify.locator("tr[data-property-name='files']")
    while not queries.locator("input").count():
        queries.get_by_role("button", name="Add").click()
    queries.locator("input").first.set_input_files(photos.files[0][2])
    _, answer = _executed(classify)
    assert answer["results"][0]["prediction"] == photos.names[0]  # type: ignore[index]
    seen_page.stayed_here(open_service.url, complaints=["Could not find component: JsonSchema_string_binary"])
