"""The lectures' learners over HTTP: what is particular to them is how many labels they take."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from meta_core.card import Part
from service.app import create_app
from service.settings import Settings
from tests.service.gradient import write_untrained
from tests.service.running import assert_same, b64, digits, examples, probabilities, serving, wait_until_answered

MOST = 4
READERS = {"snail": {"filters": 8}, "mann": {"controller": 16, "rows": 12}}
ANSWERING = ("network_maml", "mr_maml")
BOUND = (*READERS, *ANSWERING)
FREE = ("cnp", "mr_cnp", "contrastive", "multi_task", "meta_lstm")
QUERIES = [b64(data) for _, data in digits(1, start=20, labels=(0, 1, 2))]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("black-box")
    for name, options in READERS.items():
        write_untrained(folder / "models" / name, Part(name=name, options={"most_ways": MOST, **options}))
    for name in ANSWERING:
        write_untrained(folder / "models" / name, Part(name=name), norm="group", outputs=MOST)
    for name in FREE:
        write_untrained(folder / "models" / name, Part(name=name), norm="group" if name == "meta_lstm" else "batch")
    settings = Settings(
        models_dir=folder / "models", data_dir=folder / "data", device="cpu", threads=1, default_model="cnp"
    )
    with serving(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        wait_until_answered(client)
        yield client


def body(model: str, ways: int) -> dict[str, Any]:
    return {"model": model, "examples": examples(digits(2, labels=range(ways)))}


def refused(answer: httpx.Response, *, came: int) -> None:
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_support_set")
    assert f"{came} classes came" in answer.json()["detail"]
    assert f"at most {MOST} apart" in answer.json()["detail"]


@pytest.mark.parametrize("model", [*BOUND, *FREE])
def test_the_card_says_how_many_labels_it_takes(client: httpx.Client, model: str) -> None:
    assert client.get(f"/v1/models/{model}").json()["most_ways"] == (MOST if model in BOUND else None)


@pytest.mark.parametrize("model", [*BOUND, *FREE])
def test_a_classifier_that_is_kept_answers_as_the_call_that_keeps_nothing(client: httpx.Client, model: str) -> None:
    once = client.post("/v1/classify", json={**body(model, MOST), "images": QUERIES})
    assert once.status_code == 200, once.text
    made = client.post("/v1/classifiers", json=body(model, MOST))
    assert made.status_code == 201, made.text
    kept = client.post(f"/v1/classifiers/{made.json()['id']}/classify", json={"images": QUERIES})
    assert_same(probabilities(kept.json()), probabilities(once.json()))


@pytest.mark.parametrize("model", BOUND)
def test_more_labels_are_refused_with_the_number(client: httpx.Client, model: str) -> None:
    refused(client.post("/v1/classifiers", json=body(model, MOST + 1)), came=MOST + 1)
    refused(client.post("/v1/classify", json={**body(model, MOST + 3), "images": QUERIES}), came=MOST + 3)


@pytest.mark.parametrize("model", [*READERS, "mr_maml"])  # network_maml keeps no examples to add to
def test_a_label_too_many_leaves_the_classifier_as_it_was(client: httpx.Client, model: str) -> None:
    made = client.post("/v1/classifiers", json=body(model, MOST)).json()
    path = f"/v1/classifiers/{made['id']}"
    refused(client.post(f"{path}/examples", json={"examples": examples(digits(1, labels=(MOST,)))}), came=MOST + 1)
    assert client.get(path).json() == made


@pytest.mark.parametrize("model", FREE)
def test_the_others_take_any_number(client: httpx.Client, model: str) -> None:
    answer = client.post("/v1/classify", json={**body(model, 10), "images": QUERIES})
    assert answer.status_code == 200, answer.text
    assert len(probabilities(answer.json())[0]) == 10
