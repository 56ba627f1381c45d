"""Creating, reading, listing and deleting classifiers over real HTTP."""

import io
import json
import time
import zipfile
from typing import Any

import httpx
import pytest

from tests.service.running import assert_same, b64, digits, examples, probabilities

SUPPORT = digits(3, labels=(3, 4, 8))
QUERIES = digits(4, start=3, labels=(3, 4, 8))


def files(field: str, pairs: list[tuple[str, bytes]]) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [(field, (f"{number}.png", data, "image/png")) for number, (_, data) in enumerate(pairs)]


def create(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/classifiers", json={"examples": examples(SUPPORT), **body})
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def asked(client: httpx.Client, classifier_id: str) -> list[dict[str, float]]:
    images = [b64(data) for _, data in QUERIES]
    answer = client.post(f"/v1/classifiers/{classifier_id}/classify", json={"images": images})
    assert answer.status_code == 200, answer.text
    return probabilities(answer.json())


def test_a_created_classifier_is_located_and_described(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/classifiers", json={"examples": examples(SUPPORT), "name": "digits", "metadata": {"batch": 7}}
    )
    created = answer.json()
    assert answer.headers["location"] == f"/v1/classifiers/{created['id']}"
    assert client.get(answer.headers["location"]).json() == created
    assert created["labels"] == [{"label": label, "shots": 3} for label in ("3", "4", "8")]
    assert created["name"] == "digits"
    assert created["metadata"] == {"batch": 7}
    assert created["examples"] == 9
    assert created["model"] == "omniglot-protonet"
    assert created["report"]["leave_one_out_examples"] == created["examples"]


@pytest.mark.parametrize(("model", "why"), [(None, "default"), ("auto", "auto"), ("omniglot-protonet", "named")])
def test_a_classifier_says_which_model_it_got_and_why(client: httpx.Client, model: str | None, why: str) -> None:
    created = create(client, model=model)
    assert created["model"] == "omniglot-protonet"
    assert why in created["model_choice"]["reason"]


def test_most_digits_are_recognized(client: httpx.Client) -> None:
    answers = asked(client, create(client)["id"])
    right = sum(max(row, key=lambda label: row[label]) == true for row, (true, _) in zip(answers, QUERIES, strict=True))
    assert right >= 10


def test_probabilities_are_finite_and_sum_to_one(client: httpx.Client) -> None:
    for row in asked(client, create(client)["id"]):
        assert sum(row.values()) == pytest.approx(1, abs=1e-9)
        assert all(0 <= value <= 1 for value in row.values())


def test_json_upload_and_archive_make_the_same_classifier(client: httpx.Client) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, (label, data) in enumerate(SUPPORT):
            archive.writestr(f"my digits/{label}/{number}.png", data)
            archive.writestr(f"__MACOSX/my digits/{label}/._{number}.png", b"finder")
    uploaded = client.post(
        "/v1/classifiers/upload", files=files("files", SUPPORT), data={"labels": [label for label, _ in SUPPORT]}
    ).json()
    archived = client.post("/v1/classifiers/archive", files={"archive": ("digits.zip", packed.getvalue())}).json()
    expected = asked(client, create(client)["id"])
    assert_same(asked(client, uploaded["id"]), expected)
    assert_same(asked(client, archived["id"]), expected)


LABELS = [label for label, _ in SUPPORT]


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        [json.dumps(LABELS)],
        [json.dumps({f"{number}.png": label for number, label in enumerate(LABELS)})],
        [",".join(LABELS)],
        ["\n".join(LABELS) + "\n"],
    ],
    ids=["repeated fields", "a JSON array", "a JSON object by filename", "commas", "line breaks"],
)
def test_labels_of_a_form_come_in_any_of_the_accepted_ways(client: httpx.Client, labels: list[str]) -> None:
    answer = client.post("/v1/classifiers/upload", files=files("files", SUPPORT), data={"labels": labels})
    assert answer.status_code == 201, answer.text
    assert [entry["shots"] for entry in answer.json()["labels"]] == [3, 3, 3]


def test_one_label_a_file_may_contain_commas_and_brackets(client: httpx.Client) -> None:
    odd = ["[draft] a, b", "{c}", "d"]
    pairs = digits(1, labels=(3, 4, 8))
    answer = client.post("/v1/classifiers/upload", files=files("files", pairs), data={"labels": odd})
    assert [entry["label"] for entry in answer.json()["labels"]] == odd


def test_deleting_forgets_the_classifier(client: httpx.Client) -> None:
    created = create(client)
    assert client.delete(f"/v1/classifiers/{created['id']}").status_code == 204
    for answer in (
        client.get(f"/v1/classifiers/{created['id']}"),
        client.delete(f"/v1/classifiers/{created['id']}"),
        client.post(f"/v1/classifiers/{created['id']}/classify", json={"images": [b64(QUERIES[0][1])]}),
    ):
        assert answer.status_code == 404
        assert answer.json()["code"] == "unknown_classifier"


def test_a_classifier_is_gone_after_its_time(client: httpx.Client) -> None:
    created = create(client, ttl_seconds=1)
    assert created["expires_at"] is not None
    assert client.get(f"/v1/classifiers/{created['id']}").status_code == 200
    time.sleep(1.1)
    assert client.get(f"/v1/classifiers/{created['id']}").status_code == 404
    listed = [entry["id"] for entry in client.get("/v1/classifiers", params={"limit": 100}).json()["data"]]
    assert created["id"] not in listed


def test_pages_list_every_classifier_once_the_newest_first(client: httpx.Client) -> None:
    made = [create(client)["id"] for _ in range(5)]
    seen: list[str] = []
    page = client.get("/v1/classifiers", params={"limit": 2}).json()
    while True:
        seen += [entry["id"] for entry in page["data"]]
        assert page["has_more"] == (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        page = client.get("/v1/classifiers", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert seen[:5] == made[::-1]
    assert len(seen) == len(set(seen))


def test_a_cursor_of_somebody_else_is_refused(client: httpx.Client) -> None:
    for cursor in ("x", "bm9wZQ==", "é", "OTk5", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTkgY2xmXzE="):
        answer = client.get("/v1/classifiers", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor"), cursor
