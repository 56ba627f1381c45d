"""Changing stored classifiers over real HTTP: always equal to a fresh one of the examples that are left."""

import io
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.gradient import MAML
from tests.service.running import Service, assert_same, b64, digits, examples, probabilities, running
from tests.service.test_classifiers import files

PAIRS = digits(3, labels=(3, 4, 8))
MORE = [*digits(2, start=3, labels=(4, 9)), *digits(1, start=5, labels=(3,))]
QUERIES = digits(2, start=8, labels=(3, 4, 8, 9))

Pair = tuple[str, bytes]


@pytest.fixture(scope="module")
def keeping(maml_alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service of a model that adapts its whole network; it may keep pictures."""
    data = tmp_path_factory.mktemp("keeping") / "data"
    with running(data, models_dir=maml_alone, KSHOT_KEEP_IMAGES="true") as service, service.client(120) as client:
        yield client


def create(client: httpx.Client, pairs: Sequence[Pair] = PAIRS, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/classifiers", json={"examples": examples(pairs), **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def asked(client: httpx.Client, classifier_id: str) -> list[dict[str, float]]:
    images = [b64(data) for _, data in QUERIES]
    answer = client.post(f"/v1/classifiers/{classifier_id}/classify", json={"images": images})
    assert answer.status_code == 200, answer.text
    return probabilities(answer.json())


def listed(client: httpx.Client, classifier_id: str) -> list[dict[str, str]]:
    """All pages of the examples."""
    found, cursor = list[dict[str, str]](), None
    while True:
        query = {"limit": 4} | ({} if cursor is None else {"cursor": cursor})
        page = client.get(f"/v1/classifiers/{classifier_id}/examples", params=query).json()
        found += page["data"]
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor is not None)
        if cursor is None:
            return found


def assert_as_fresh(client: httpx.Client, classifier_id: str, pairs: Sequence[Pair], **body: Any) -> None:
    fresh, changed = create(client, pairs, **body), client.get(f"/v1/classifiers/{classifier_id}").json()
    assert changed["labels"] == fresh["labels"]
    assert [each["label"] for each in listed(client, classifier_id)] == [label for label, _ in pairs]
    assert_same(asked(client, classifier_id), asked(client, fresh["id"]))
    assert changed["report"]["leave_one_out_accuracy"] == fresh["report"]["leave_one_out_accuracy"]


@pytest.mark.parametrize("model", ["omniglot-protonet", "photos"])
def test_a_changed_classifier_answers_as_a_fresh_one_of_the_same_examples(
    every_client: httpx.Client, model: str
) -> None:
    change_and_compare(every_client, model=model)


def test_so_does_one_whose_model_adapts_its_whole_network_where_pictures_are_kept(keeping: httpx.Client) -> None:
    change_and_compare(keeping, model=MAML, adapt={"steps": 3})


def change_and_compare(client: httpx.Client, **body: Any) -> None:
    made = create(client, **body)
    place, pairs = f"/v1/classifiers/{made['id']}", list(PAIRS)

    added = client.post(f"{place}/examples", json={"examples": examples(MORE)})
    assert added.status_code == 201, added.text
    assert [each["label"] for each in added.json()["added"]] == [label for label, _ in MORE]
    pairs += MORE
    assert_as_fresh(client, made["id"], pairs, **body)

    first = listed(client, made["id"])[0]["id"]
    assert client.delete(f"{place}/examples/{first}").status_code == 204
    del pairs[0]
    second = listed(client, made["id"])[1]["id"]
    relabelled = client.patch(f"{place}/examples/{second}", json={"label": "a/new one?"})
    assert relabelled.status_code == 200, relabelled.text
    pairs[1] = ("a/new one?", pairs[1][1])
    assert client.delete(f"{place}/labels/4").status_code == 204
    pairs = [pair for pair in pairs if pair[0] != "4"]
    assert_as_fresh(client, made["id"], pairs, **body)
    assert client.delete(f"{place}/labels/a%2Fnew%20one%3F").status_code == 204


def test_examples_are_added_by_upload_and_archive_alike(client: httpx.Client) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, (label, data) in enumerate(MORE):
            archive.writestr(f"{label}/{number}.png", data)
    by_form, by_zip = create(client)["id"], create(client)["id"]
    form = {"labels": [label for label, _ in MORE]}
    one = client.post(f"/v1/classifiers/{by_form}/examples/upload", files=files("files", MORE), data=form)
    other = client.post(f"/v1/classifiers/{by_zip}/examples/archive", files={"archive": ("a.zip", packed.getvalue())})
    assert (one.status_code, other.status_code) == (201, 201)
    assert one.headers["location"] == f"/v1/classifiers/{by_form}"
    assert_same(asked(client, by_form), asked(client, by_zip))
    assert one.json()["report"]["leave_one_out_accuracy"] == other.json()["report"]["leave_one_out_accuracy"]


def test_examples_that_were_not_kept_cannot_be_changed(every_client: httpx.Client) -> None:
    made = create(every_client, model=MAML)
    place = f"/v1/classifiers/{made['id']}"
    example = listed(every_client, made["id"])[0]["id"]
    for answer in (
        every_client.post(f"{place}/examples", json={"examples": examples(MORE)}),
        every_client.delete(f"{place}/examples/{example}"),
        every_client.delete(f"{place}/labels/3"),
        every_client.patch(f"{place}/examples/{example}", json={"label": "9"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "examples_not_kept")
    assert every_client.get(place).json() == made


def test_a_removal_that_leaves_one_label_is_refused_and_changes_nothing(client: httpx.Client) -> None:
    made = create(client, [PAIRS[0], PAIRS[1], PAIRS[3]])
    place = f"/v1/classifiers/{made['id']}"
    last = listed(client, made["id"])[2]["id"]
    for answer in (
        client.delete(f"{place}/labels/4"),
        client.delete(f"{place}/examples/{last}"),
        client.patch(f"{place}/examples/{last}", json={"label": "3"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "too_few_labels")
    assert client.get(place).json() == made


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("DELETE", "examples/exm_none", None, "unknown_example"),
        ("PATCH", "examples/exm_none", {"label": "9"}, "unknown_example"),
        ("DELETE", "labels/none", None, "unknown_label"),
    ],
)
def test_what_is_not_there_is_told(client: httpx.Client, method: str, path: str, body: Any, code: str) -> None:
    made = create(client)
    answer = client.request(method, f"/v1/classifiers/{made['id']}/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, code)
    answer = client.request(method, f"/v1/classifiers/clf_none/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_classifier")


def test_name_time_to_live_and_metadata_are_changed_and_the_rest_stays(client: httpx.Client) -> None:
    made = create(client, name="before", metadata={"a": 1})
    place, expected = f"/v1/classifiers/{made['id']}", asked(client, made["id"])
    patched = client.patch(place, json={"name": "after", "ttl_seconds": 100}).json()
    assert (patched["name"], patched["metadata"], patched["revision"]) == ("after", {"a": 1}, 2)
    assert patched["expires_at"] > made["created_at"]
    patched = client.patch(place, json={"name": None, "ttl_seconds": None, "metadata": {}}).json()
    assert (patched["name"], patched["metadata"], patched["expires_at"]) == (None, {}, None)
    assert client.get(place).json() == patched
    assert client.patch(place, json={"labels": []}).status_code == 422
    assert client.patch(place, json={"metadata": {"long": "x" * 20_000}}).status_code == 422
    assert asked(client, made["id"]) == expected


def test_a_change_of_what_was_changed_since_is_refused(client: httpx.Client) -> None:
    answer = client.post("/v1/classifiers", json={"examples": examples(PAIRS)})
    place, old = answer.headers["location"], {"If-Match": answer.headers["etag"]}
    example = listed(client, answer.json()["id"])[0]["id"]
    changed = client.patch(place, json={"name": "other"}, headers=old)
    assert changed.headers["etag"] != old["If-Match"]
    assert client.get(place).headers["etag"] == changed.headers["etag"]
    stale = [
        client.patch(place, json={"name": "mine"}, headers=old),
        client.post(f"{place}/examples", json={"examples": examples(MORE)}, headers=old),
        client.delete(f"{place}/examples/{example}", headers=old),
        client.delete(f"{place}/labels/3", headers=old),
        client.patch(f"{place}/examples/{example}", json={"label": "9"}, headers=old),
        client.delete(place, headers=old),
    ]
    assert [(each.status_code, each.json()["code"]) for each in stale] == [(412, "precondition_failed")] * 6
    assert client.get(place).json() == changed.json()
    removed = client.delete(f"{place}/examples/{example}", headers={"If-Match": changed.headers["etag"]})
    assert removed.status_code == 204
    assert client.delete(place, headers={"If-Match": f'"7", {removed.headers["etag"]}'}).status_code == 204


def test_of_writers_at_once_no_change_is_lost(client: httpx.Client, service: Service) -> None:
    made = create(client)
    answers = list[int]()

    def write(number: int) -> None:
        with service.client() as mine:
            for place in range(2):
                pair = digits(1, start=20 + 2 * number + place, labels=(5,))
                body = {"examples": examples([(f"label {number}.{place}", pair[0][1])])}
                answers.append(mine.post(f"/v1/classifiers/{made['id']}/examples", json=body).status_code)
                assert mine.get(f"/v1/classifiers/{made['id']}").status_code == 200

    writers = [threading.Thread(target=write, args=(number,)) for number in range(5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert answers == [201] * 10
    found = client.get(f"/v1/classifiers/{made['id']}").json()
    assert {each["label"] for each in found["labels"]} >= {f"label {n}.{p}" for n in range(5) for p in range(2)}
    assert (found["examples"], found["revision"]) == (len(PAIRS) + 10, 11)
