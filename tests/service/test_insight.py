"""Evaluating a stored classifier and looking at it, over real HTTP."""

import io
import zipfile
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.gradient import MAML
from tests.service.running import b64, digits, examples
from tests.service.test_changing import create
from tests.service.test_classifiers import files

PAIRS = digits(3, labels=(3, 4, 8))
ASKED = digits(6, start=3, labels=(3, 4, 8))


def evaluate(client: httpx.Client, classifier_id: str, pairs: list[tuple[str, bytes]] = ASKED) -> dict[str, Any]:
    answer = client.post(f"/v1/classifiers/{classifier_id}/evaluate", json={"examples": examples(pairs)})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_an_evaluation_counts_what_classify_answers(client: httpx.Client) -> None:
    made = create(client, PAIRS)
    told = evaluate(client, made["id"])
    images = [b64(data) for _, data in ASKED]
    results = client.post(f"/v1/classifiers/{made['id']}/classify", json={"images": images}).json()["results"]
    answered = [result["predictions"][0]["label"] for result in results]
    right = [label == answer for (label, _), answer in zip(ASKED, answered, strict=True)]
    labels = ["3", "4", "8"]
    counts = np.zeros((3, 3), dtype=int)
    for (label, _), answer in zip(ASKED, answered, strict=True):
        counts[labels.index(label), labels.index(answer)] += 1
    assert told["confusion"] == counts.tolist()
    assert told["accuracy"] == pytest.approx(np.mean(right))
    assert told["mean_confidence"] == pytest.approx(np.mean([result["confidence"] for result in results]))
    low, high = told["accuracy_ci95"]["low"], told["accuracy_ci95"]["high"]
    assert 0 <= low < told["accuracy"] <= high <= 1
    assert [(row["label"], row["pictures"]) for row in told["labels"]] == [(label, 6) for label in labels]
    assert told["labels"][0]["accuracy"] == pytest.approx(counts[0, 0] / 6)
    assert 0 <= told["calibration_error"] <= 1
    assert (told["none_of_these"], told["calibrated"], told["errors"]) == (None, False, [])


def test_upload_and_archive_are_evaluated_alike_and_bad_pictures_are_named(client: httpx.Client) -> None:
    made, expected = create(client, PAIRS), None
    place = f"/v1/classifiers/{made['id']}/evaluate"
    expected = evaluate(client, made["id"])
    pairs = [*ASKED, ("8", b"no picture")]
    uploaded = client.post(
        f"{place}/upload", files=files("files", pairs), data={"labels": [label for label, _ in pairs]}
    ).json()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, (label, data) in enumerate(pairs):
            archive.writestr(f"{label}/{number}.png", data)
    archived = client.post(f"{place}/archive", files={"archive": ("a.zip", packed.getvalue())}).json()
    for told, name in ((uploaded, "18.png"), (archived, "8/18.png")):
        assert (told["confusion"], told["pictures"]) == (expected["confusion"], 18)
        (error,) = told["errors"]
        assert (error["index"], error["filename"], error["code"]) == (18, name, "undecodable_image")
    bad = client.post(place, json={"examples": examples([("8", b"no picture")])})
    assert (bad.status_code, bad.json()["code"]) == (422, "undecodable_image")
    strange = client.post(place, json={"examples": examples([("8", ASKED[0][1]), ("7", ASKED[0][1])])})
    assert (strange.status_code, strange.json()["errors"][0]["loc"]) == (422, ["body", "examples", 1, "image"])
    assert "'7'" in strange.json()["detail"]


def test_a_calibrated_model_tells_how_many_are_none_of_these(every_client: httpx.Client) -> None:
    made = create(every_client, PAIRS, model="photos")
    told = evaluate(every_client, made["id"])
    images = [b64(data) for _, data in ASKED]
    results = every_client.post(f"/v1/classifiers/{made['id']}/classify", json={"images": images}).json()["results"]
    assert told["calibrated"] is True
    assert (told["none_of_these"] or 0) == sum(result["prediction"] is None for result in results)


def test_the_map_has_a_point_for_each_example_and_alike_ones_lie_near(client: httpx.Client) -> None:
    made = create(client, PAIRS)
    told = client.get(f"/v1/classifiers/{made['id']}/map").json()
    listed = client.get(f"/v1/classifiers/{made['id']}/examples").json()["data"]
    assert [(point["example_id"], point["label"]) for point in told["points"]] == [
        (example["id"], example["label"]) for example in listed
    ]
    assert 0 < told["variance_percent"][1] <= told["variance_percent"][0] <= 100
    places = np.array([[point["x"], point["y"]] for point in told["points"]])
    assert np.abs(places.mean(0)).max() < 1e-6
    labels = np.array([point["label"] for point in told["points"]])
    distances = np.linalg.norm(places[:, None] - places, axis=-1)
    same = labels[:, None] == labels
    assert distances[same].mean() < distances[~same].mean()


def test_the_map_is_a_picture_for_those_who_accept_that(client: httpx.Client) -> None:
    place = f"/v1/classifiers/{create(client, PAIRS)['id']}/map"
    for accept in ("image/png", "image/png,*/*;q=0.5", "application/json;q=0.1, image/*"):
        answer = client.get(place, headers={"Accept": accept})
        assert (answer.headers["content-type"], answer.headers["vary"]) == ("image/png", "Accept")
        assert np.asarray(Image.open(io.BytesIO(answer.content)).convert("L")).std() > 0
    for accept in ("*/*", "application/json", "text/html,image/*;q=0.8,*/*;q=0.9", "image/png;q=nonsense"):
        answer = client.get(place, headers={"Accept": accept})
        assert (answer.headers["content-type"], answer.headers["vary"]) == ("application/json", "Accept")


def test_there_is_no_map_where_examples_are_not_kept(every_client: httpx.Client) -> None:
    answer = every_client.get(f"/v1/classifiers/{create(every_client, PAIRS, model=MAML)['id']}/map")
    assert (answer.status_code, answer.json()["code"]) == (409, "examples_not_kept")
