"""“None of these” and calibrated confidence of the default model, over HTTP, on pictures that the tests make."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from meta_core.domains import textures
from meta_core.preprocess import InputSpec
from tests.service.running import MODELS, Service, b64, png, running

WAYS, SHOTS, QUERIES = 4, 5, 4


def pictures(classes: slice) -> list[list[str]]:
    made = textures(InputSpec(channels=3, height=96, width=96), classes=12, a_class=SHOTS + QUERIES, seed=3).pictures
    images = made.images.permute(0, 2, 3, 1).numpy()
    return [[b64(png(image)) for image in own] for own in np.split(images, 12)[classes]]


SHOWN, STRANGE = pictures(slice(WAYS)), pictures(slice(WAYS, 8))
EXAMPLES = [{"label": f"l{n}", "image": image} for n, own in enumerate(SHOWN) for image in own[:SHOTS]]
KNOWN = [image for own in SHOWN for image in own[SHOTS:]]
STRANGERS = [image for own in STRANGE for image in own[:QUERIES]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("none")
    (folder / "models").mkdir()
    (folder / "models" / "photos").symlink_to(MODELS / "photos")
    with running(folder / "data", models_dir=folder / "models") as started:
        yield started


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="module")
def classifier(client: httpx.Client) -> str:
    created: dict[str, Any] = client.post("/v1/classifiers", json={"examples": EXAMPLES}).raise_for_status().json()
    assert created["model"] == "photos"
    return str(created["id"])


def asked(client: httpx.Client, classifier: str, images: list[str], **options: float) -> list[dict[str, Any]]:
    answer = client.post(f"/v1/classifiers/{classifier}/classify", json={"images": images, **options})
    told: dict[str, Any] = answer.raise_for_status().json()
    assert told["calibrated"] is True
    results: list[dict[str, Any]] = told["results"]
    return results


def none(results: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    return np.array([result["none_probability"] for result in results])


def test_strangers_are_likelier_to_be_none_of_these(client: httpx.Client, classifier: str) -> None:
    known, strangers = none(asked(client, classifier, KNOWN)), none(asked(client, classifier, STRANGERS))
    assert ((known >= 0) & (known <= 1)).all()
    assert strangers.mean() > known.mean() + 0.1
    assert (strangers[:, None] > known).mean() > 0.75


def test_a_query_is_judged_alone_as_among_others(client: httpx.Client, classifier: str) -> None:
    together = none(asked(client, classifier, KNOWN + STRANGERS))
    alone = np.concatenate([none(asked(client, classifier, [image])) for image in (KNOWN + STRANGERS)[::5]])
    np.testing.assert_allclose(alone, together[::5], atol=1e-5)


def test_the_stateless_call_judges_as_a_stored_classifier(client: httpx.Client, classifier: str) -> None:
    body = {"examples": EXAMPLES, "images": KNOWN + STRANGERS}
    once = client.post("/v1/classify", json=body).raise_for_status().json()["results"]
    stored = asked(client, classifier, KNOWN + STRANGERS)
    np.testing.assert_allclose(none(once), none(stored), atol=1e-5)
    assert [result["prediction"] for result in once] == [result["prediction"] for result in stored]


def test_the_requests_threshold_decides(client: httpx.Client, classifier: str) -> None:
    never = asked(client, classifier, STRANGERS, none_threshold=1.0)
    assert all(result["prediction"] is not None for result in never)
    always = asked(client, classifier, KNOWN, none_threshold=0.0)
    assert all(result["prediction"] is None for result in always)
    for result in (*never, *always):
        assert abs(sum(row["probability"] for row in result["predictions"]) - 1) < 1e-9
        assert result["confidence"] == result["predictions"][0]["probability"]


def test_without_one_the_models_own_threshold_does(client: httpx.Client, classifier: str) -> None:
    card = client.get("/v1/models/photos").raise_for_status().json()
    (fitted,) = (each for each in card["calibration"]["none_of_these"] if each["shots"] == SHOTS)
    for result in asked(client, classifier, KNOWN + STRANGERS):
        refused = fitted["auroc"] >= 0.8 and result["none_probability"] > fitted["threshold"]
        assert (result["prediction"] is None) == refused


def test_with_one_shot_only_a_request_decides(client: httpx.Client) -> None:
    examples = [{"label": f"l{n}", "image": own[0]} for n, own in enumerate(SHOWN)]
    once = client.post("/v1/classify", json={"examples": examples, "images": STRANGERS}).raise_for_status().json()
    assert all(result["prediction"] is not None for result in once["results"])
    assert all(0 <= result["none_probability"] <= 1 for result in once["results"])


def test_a_form_takes_the_threshold_too(client: httpx.Client, classifier: str) -> None:
    files = [("files", ("a.png", base64.b64decode(KNOWN[0]), "image/png"))]
    url = f"/v1/classifiers/{classifier}/classify/upload"
    (result,) = client.post(url, files=files, data={"none_threshold": "0"}).raise_for_status().json()["results"]
    assert result["prediction"] is None
    assert client.post(url, files=files, data={"none_threshold": "2"}).status_code == 422


def test_a_classifier_judges_the_same_after_a_restart(client: httpx.Client, classifier: str, tmp_path: Path) -> None:
    before = none(asked(client, classifier, KNOWN))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "photos").symlink_to(MODELS / "photos")
    with running(tmp_path / "data", models_dir=tmp_path / "models") as service, service.client() as first:
        created = first.post("/v1/classifiers", json={"examples": EXAMPLES}).raise_for_status().json()["id"]
        service.kill()
    with running(tmp_path / "data", models_dir=tmp_path / "models") as service, service.client() as again:
        np.testing.assert_allclose(none(asked(again, created, KNOWN)), before, atol=1e-5)
