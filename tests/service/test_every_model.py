"""Every shipped model, and one that adapts its whole network, serves the whole of the contract by the same calls."""

import math
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.service.gradient import MAML, SHIPPED
from tests.service.running import (
    assert_same,
    b64,
    digits,
    examples,
    probabilities,
    running,
    serving,
    wait_until_answered,
)

MODELS = [*SHIPPED, MAML]
POOL = digits(8)
QUERIES = [b64(data) for _, data in digits(1, start=20)]


def task(ways: int) -> list[tuple[str, bytes]]:
    """So many labels with one to three pictures each; what the pictures show is not what they are labelled."""
    labels = [f"label {number}" for number in range(ways) for _ in range(1 + number % 3)]
    return [(label, POOL[(7 * place) % len(POOL)][1]) for place, label in enumerate(labels)]


def create(client: httpx.Client, model: str, support: list[tuple[str, bytes]], **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/classifiers", json={"model": model, "examples": examples(support), **body})
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def asked(client: httpx.Client, identifier: str, images: list[str]) -> list[dict[str, float]]:
    answer = client.post(f"/v1/classifiers/{identifier}/classify", json={"images": images})
    assert answer.status_code == 200, answer.text
    return probabilities(answer.json())


def adapted(client: httpx.Client, model: str, **adapt: Any) -> httpx.Response:
    body = {"model": model, "examples": examples(task(3)), "images": QUERIES, "adapt": adapt}
    return client.post("/v1/classify", json=body)


@pytest.mark.parametrize("ways", [2, 5, 20, 37])
@pytest.mark.parametrize("model", MODELS)
def test_any_number_of_ways_with_uneven_shots_is_served(every_client: httpx.Client, model: str, ways: int) -> None:
    support = task(ways)
    created = create(every_client, model, support)
    assert created["model"] == model
    assert [entry["shots"] for entry in created["labels"]] == [1 + number % 3 for number in range(ways)]
    stored = asked(every_client, created["id"], QUERIES)
    for row in stored:
        assert len(row) == ways
        assert all(math.isfinite(value) for value in row.values())
        assert sum(row.values()) == pytest.approx(1, abs=1e-9)
    body = {"model": model, "examples": examples(support), "images": QUERIES}
    once = every_client.post("/v1/classify", json=body)
    assert_same(probabilities(once.json()), stored)


@pytest.mark.parametrize("model", MODELS)
def test_a_query_asked_alone_is_answered_as_among_fifty_others(every_client: httpx.Client, model: str) -> None:
    identifier = create(every_client, model, task(5))["id"]
    others = [b64(data) for _, data in digits(5, start=30)]
    among = asked(every_client, identifier, [*others[:25], QUERIES[0], *others[25:]])
    assert len(among) == 51
    assert_same(asked(every_client, identifier, QUERIES[:1]), [among[25]])


def test_a_new_process_answers_the_same_by_every_model(models: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    app = create_app(Settings(models_dir=models, data_dir=data, device="cpu", threads=1))
    with serving(app) as url, httpx.Client(base_url=url, timeout=120) as client:
        wait_until_answered(client)
        made = [create(client, model, task(5))["id"] for model in MODELS]
        before = [asked(client, identifier, QUERIES) for identifier in made]
    with running(data, models_dir=models, KSHOT_THREADS="2") as second, second.client() as client:
        for identifier, expected in zip(made, before, strict=True):
            assert_same(asked(client, identifier, QUERIES), expected)


@pytest.mark.parametrize("model", MODELS)
def test_options_within_the_card_change_the_answer_and_are_kept(every_client: httpx.Client, model: str) -> None:
    allowed = every_client.get(f"/v1/models/{model}").json()["adapt"]
    own = create(every_client, model, task(3))
    assert own["adapt"] == {"steps": None, "rate": None}
    for option, (lowest, _) in allowed.items():
        value = int(lowest) + 1 if option == "steps" else lowest + 0.25
        created = create(every_client, model, task(3), adapt={option: value})
        assert created["adapt"] == {"steps": None, "rate": None, option: value}
        assert every_client.get(f"/v1/classifiers/{created['id']}").json() == created
        pairs = zip(asked(every_client, created["id"], QUERIES), asked(every_client, own["id"], QUERIES), strict=True)
        assert max(abs(one[label] - other[label]) for one, other in pairs for label in one) > 1e-6


@pytest.mark.parametrize("model", MODELS)
def test_options_that_the_card_does_not_allow_are_refused_by_name_value_and_range(
    every_client: httpx.Client, model: str
) -> None:
    allowed = every_client.get(f"/v1/models/{model}").json()["adapt"]
    for option in ("steps", "rate"):
        answer = adapted(every_client, model, **{option: 100_001})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_options")
        detail = answer.json()["detail"]
        assert f"adapt.{option} is 100001" in detail
        assert model in detail
        for name, (low, high) in allowed.items():
            assert f"{name} from {low:g} to {high:g}" in detail
        assert bool(allowed) or detail.endswith("none")
