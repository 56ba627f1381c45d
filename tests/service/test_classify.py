"""Classifying, stored and stateless, over real HTTP."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.running import Service, assert_same, b64, digits, examples, probabilities, running

SUPPORT = digits(5, labels=(0, 1, 2, 3, 4))
QUERIES = digits(4, start=5, labels=(0, 1, 2, 3, 4))
IMAGES = [b64(data) for _, data in QUERIES]


def create(client: httpx.Client) -> str:
    answer = client.post("/v1/classifiers", json={"examples": examples(SUPPORT)})
    assert answer.status_code == 201, answer.text
    identifier: str = answer.json()["id"]
    return identifier


def classify(client: httpx.Client, identifier: str, images: list[str], **options: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/classifiers/{identifier}/classify", json={"images": images, **options})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def test_the_stateless_call_and_the_stored_path_give_the_same_answers(client: httpx.Client) -> None:
    once = client.post("/v1/classify", json={"examples": examples(SUPPORT), "images": IMAGES})
    assert once.status_code == 200, once.text
    stored = classify(client, create(client), IMAGES)
    assert len(stored["results"]) == 20
    assert_same(probabilities(once.json()), probabilities(stored))
    assert once.json()["classifier_id"] is None


def test_forms_and_json_give_the_same_answers(client: httpx.Client) -> None:
    identifier = create(client)
    expected = probabilities(classify(client, identifier, IMAGES))
    queries = [(f"q{number}.png", data) for number, (_, data) in enumerate(QUERIES)]
    stored = client.post(f"/v1/classifiers/{identifier}/classify/upload", files=[("files", file) for file in queries])
    once = client.post(
        "/v1/classify/upload",
        files=[("support", (f"s{number}.png", data)) for number, (_, data) in enumerate(SUPPORT)]
        + [("queries", file) for file in queries],
        data={"labels": ",".join(label for label, _ in SUPPORT)},
    )
    for answer in (stored, once):
        assert answer.status_code == 200, answer.text
        assert_same(probabilities(answer.json()), expected)
        assert [result["filename"] for result in answer.json()["results"]] == [name for name, _ in queries]


def test_a_query_asked_alone_is_answered_as_among_fifty(client: httpx.Client) -> None:
    identifier = create(client)
    many = [b64(data) for _, data in digits(5, start=20)]
    among = probabilities(classify(client, identifier, [IMAGES[0], *many]))[0]
    alone = probabilities(classify(client, identifier, [IMAGES[0]]))[0]
    assert_same([alone], [among])


def test_a_restarted_service_answers_the_same(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as first, first.client() as client:
        identifier = create(client)
        before = classify(client, identifier, IMAGES)
        described = client.get(f"/v1/classifiers/{identifier}").json()
        assert first.stop() == 0
    with running(data) as second, second.client() as client:
        assert client.get(f"/v1/classifiers/{identifier}").json() == described
        assert_same(probabilities(classify(client, identifier, IMAGES)), probabilities(before))


def test_top_k_cuts_the_list_and_nothing_else(client: httpx.Client) -> None:
    identifier = create(client)
    whole, cut = classify(client, identifier, IMAGES), classify(client, identifier, IMAGES, top_k=2)
    for all_labels, two in zip(whole["results"], cut["results"], strict=True):
        assert two["predictions"] == all_labels["predictions"][:2]
        assert two["prediction"] == all_labels["prediction"] == all_labels["predictions"][0]["label"]
        assert two["confidence"] == all_labels["predictions"][0]["probability"]


def test_one_undecodable_query_does_not_fail_the_others(client: httpx.Client) -> None:
    identifier = create(client)
    expected = probabilities(classify(client, identifier, IMAGES[:2]))
    answer = classify(client, identifier, [IMAGES[0], b64(b"not a picture"), IMAGES[1]])
    assert [result["index"] for result in answer["results"]] == [0, 1, 2]
    assert answer["results"][1]["error"]["code"] == "undecodable_image"
    assert answer["results"][1]["prediction"] is None
    assert_same([probabilities(answer)[0], probabilities(answer)[2]], expected)


def test_what_has_not_landed_is_null_and_never_made_up(client: httpx.Client) -> None:
    answer = classify(client, create(client), IMAGES[:1])
    assert answer["calibrated"] is False
    assert answer["results"][0]["none_probability"] is None


def test_timings_say_where_the_time_went(client: httpx.Client) -> None:
    unseen = [b64(data) for _, data in digits(2, start=150, labels=(0, 6))]  # what was sent before is not encoded again
    timings = classify(client, create(client), unseen)["timings_ms"]
    assert set(timings) == {"decode", "queue", "encode", "adapt", "predict", "total"}
    assert timings["total"] >= timings["decode"] + timings["encode"]
    assert timings["encode"] > 0


@pytest.mark.parametrize("model", [None, "auto", "omniglot-protonet"])
def test_the_answer_says_which_model_and_why(client: httpx.Client, model: str | None) -> None:
    body = {"examples": examples(SUPPORT), "images": IMAGES[:1], "model": model}
    answer = client.post("/v1/classify", json=body).json()
    assert answer["model"] == "omniglot-protonet"
    assert answer["model_choice"]["reason"]


def test_uneven_shots_and_two_to_thirty_ways_are_served(client: httpx.Client) -> None:
    pairs = digits(6)
    for ways in (2, 10, 30):
        support = [(str(number % ways), data) for number, (_, data) in enumerate(pairs)] + [("0", pairs[0][1])] * 7
        answer = client.post("/v1/classify", json={"examples": examples(support), "images": IMAGES[:3]})
        assert answer.status_code == 200, answer.text
        assert all(len(result["predictions"]) == ways for result in answer.json()["results"])


def test_the_service_stops_cleanly_when_asked(tmp_path: Path) -> None:
    with running(tmp_path / "data") as started:
        assert isinstance(started, Service)
        assert started.stop() == 0


def test_every_answer_tells_where_its_time_went(client: httpx.Client) -> None:
    created = client.post("/v1/classifiers", json={"examples": examples(SUPPORT)})
    asked = client.post(f"{created.headers['location']}/classify", json={"images": [b64(SUPPORT[0][1])]})
    for answer, stages in {created: {"queue", "encode", "adapt"}, asked: {"decode", "encode", "predict"}}.items():
        told = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
        assert stages | {"total"} <= told.keys()
        assert all(float(spent) >= 0 for spent in told.values())
        assert float(told["total"]) > 0
    assert client.get("/nothing").headers["server-timing"].startswith("total;dur=")
