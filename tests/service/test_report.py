"""What a support set says about itself, over real HTTP."""

import time
from typing import Any

import httpx
import pytest

from tests.service.gradient import MAML
from tests.service.running import b64, digits, examples

SUPPORT = digits(6, labels=(0, 1, 2, 3, 4))


def create(client: httpx.Client, pairs: list[tuple[str, bytes]], **options: Any) -> dict[str, Any]:
    answer = client.post("/v1/classifiers", json={"examples": examples(pairs), **options})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_clean_examples_leave_little_to_say(client: httpx.Client) -> None:
    report = create(client, SUPPORT)["report"]
    assert report["leave_one_out_accuracy"] > 0.8
    assert report["leave_one_out_examples"] == 30
    assert report["mislabelled"] == report["duplicates"] == report["too_few_shots"] == report["notes"] == []


def test_an_example_with_another_label_is_told_with_the_label_it_should_have(client: httpx.Client) -> None:
    swapped = [("3", SUPPORT[0][1]), *SUPPORT[1:]]
    made = create(client, swapped)
    first = made["report"]["mislabelled"][0]
    assert (first["index"], first["label"], first["suggested_label"]) == (0, "3", "0")
    assert first["example_id"].startswith("exm_")
    assert 0.8 <= first["score"] <= 1
    assert {"label": "3", "taken_for": "0", "count": 1, "of": 7} in made["report"]["confusions"]


def test_one_picture_twice_is_told_and_whether_its_labels_differ(client: httpx.Client) -> None:
    report = create(client, [*SUPPORT, SUPPORT[7], ("2", SUPPORT[0][1])])["report"]
    told = [
        (group["exact"], group["labels_differ"], [member["index"] for member in group["examples"]])
        for group in report["duplicates"]
    ]
    assert told == [(True, True, [0, 31]), (True, False, [7, 30])]
    assert [member["label"] for member in report["duplicates"][0]["examples"]] == ["0", "2"]


def test_what_one_example_a_label_makes_impossible_is_null(client: httpx.Client) -> None:
    report = create(client, digits(1))["report"]
    assert report["leave_one_out_accuracy"] is report["confusions"] is report["mislabelled"] is None
    assert report["leave_one_out_examples"] == 0
    assert report["too_few_shots"] == [{"label": str(label), "shots": 1} for label in range(10)]
    assert "add a second" in report["notes"][0]


def test_a_label_with_one_example_among_others_is_told(client: httpx.Client) -> None:
    report = create(client, [*SUPPORT, ("lonely", digits(1, labels=(9,))[0][1])])["report"]
    assert report["leave_one_out_examples"] == 30
    assert report["too_few_shots"] == [{"label": "lonely", "shots": 1}]
    assert "'lonely'" in report["notes"][0]


def test_the_report_stays_with_the_classifier(client: httpx.Client) -> None:
    made = create(client, SUPPORT)
    assert client.get(f"/v1/classifiers/{made['id']}").json() == made
    listed = client.get("/v1/classifiers", params={"limit": 100}).json()["data"]
    assert made in listed


def test_all_bodies_get_the_same_report(client: httpx.Client) -> None:
    by_json = create(client, SUPPORT)["report"]
    files = [("files", (f"{n}.png", data)) for n, (_, data) in enumerate(SUPPORT)]
    labels = [label for label, _ in SUPPORT]
    by_form = client.post("/v1/classifiers/upload", files=files, data={"labels": labels}).json()["report"]
    assert by_form == by_json


def test_a_model_that_adapts_its_whole_network_tells_equal_pictures_alone(every_client: httpx.Client) -> None:
    report = create(every_client, [*SUPPORT, SUPPORT[0]], model=MAML)["report"]
    assert report["leave_one_out_accuracy"] is report["confusions"] is report["mislabelled"] is None
    assert [[member["index"] for member in group["examples"]] for group in report["duplicates"]] == [[0, 30]]
    assert "whole network" in report["notes"][0]


@pytest.mark.parametrize("model", ["omniglot-protonet", "omniglot-proto-logistic"])
def test_a_thousand_examples_are_reported_on_within_seconds_and_what_was_cut_is_told(
    every_client: httpx.Client, model: str
) -> None:
    """Most of the time is encoding; the other requests of this session may share the cores."""
    many = (digits(100) * 2)[:1000]
    began = time.perf_counter()
    made = create(every_client, many, model=model)
    assert time.perf_counter() - began < 30
    report = made["report"]
    judged = report["leave_one_out_examples"]
    assert report["leave_one_out_accuracy"] > 0.7 if judged >= 20 else report["leave_one_out_accuracy"] is None
    assert any(f"{judged} of 1000" in note for note in report["notes"]) == (judged < 1000)


class TestNearestExamples:
    IMAGES = tuple(b64(data) for _, data in digits(2, start=6, labels=(0, 1)))

    def ask(self, client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
        answer = client.post(path, json={"images": list(self.IMAGES), **body})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def test_are_named_by_id_and_place_the_nearest_first(self, client: httpx.Client) -> None:
        made = create(client, SUPPORT)
        answer = self.ask(client, f"/v1/classifiers/{made['id']}/classify", explain=True)
        for result in answer["results"]:
            found = result["nearest_examples"]
            assert [near["label"] for near in found] == [SUPPORT[near["index"]][0] for near in found]
            assert [near["distance"] for near in found] == sorted(near["distance"] for near in found)
            assert len({near["example_id"] for near in found}) == 3
            assert found[0]["label"] == result["prediction"]

    def test_an_example_asked_about_is_nearest_to_itself(self, client: httpx.Client) -> None:
        made = create(client, SUPPORT)
        asked = {"images": [b64(SUPPORT[7][1])], "explain": True}
        stored = client.post(f"/v1/classifiers/{made['id']}/classify", json=asked).json()
        once = client.post("/v1/classify", json={"examples": examples(SUPPORT), **asked}).json()
        for answer in (stored, once):
            first = answer["results"][0]["nearest_examples"][0]
            assert first["index"] == 7
            assert first["distance"] == pytest.approx(0, abs=1e-6)
        assert once["results"][0]["nearest_examples"][0]["example_id"] is None

    def test_are_left_out_where_nobody_asks(self, client: httpx.Client) -> None:
        made = create(client, SUPPORT)
        answer = self.ask(client, f"/v1/classifiers/{made['id']}/classify")
        assert all(result["nearest_examples"] is None for result in answer["results"])

    def test_forms_ask_for_them_too(self, client: httpx.Client) -> None:
        made = create(client, SUPPORT)
        expected = self.ask(client, f"/v1/classifiers/{made['id']}/classify", explain=True)
        queries = [("q.png", data) for _, data in digits(2, start=6, labels=(0, 1))]
        stored = client.post(
            f"/v1/classifiers/{made['id']}/classify/upload",
            files=[("files", file) for file in queries],
            data={"explain": "true"},
        ).json()
        once = client.post(
            "/v1/classify/upload",
            files=[("support", (f"s{n}.png", data)) for n, (_, data) in enumerate(SUPPORT)]
            + [("queries", file) for file in queries],
            data={"labels": [label for label, _ in SUPPORT], "explain": "true"},
        ).json()
        for answer in (stored, once):
            for result, wanted in zip(answer["results"], expected["results"], strict=True):
                assert [near["index"] for near in result["nearest_examples"]] == [
                    near["index"] for near in wanted["nearest_examples"]
                ]

    def test_an_undecodable_query_has_none_and_moves_nothing(self, client: httpx.Client) -> None:
        body = {"examples": examples(SUPPORT), "images": [b64(b"no"), b64(SUPPORT[7][1])], "explain": True}
        bad, good = client.post("/v1/classify", json=body).json()["results"]
        assert bad["nearest_examples"] is None
        assert good["nearest_examples"][0]["index"] == 7

    def test_are_null_where_examples_are_not_kept(self, every_client: httpx.Client) -> None:
        made = create(every_client, SUPPORT, model=MAML)
        stored = self.ask(every_client, f"/v1/classifiers/{made['id']}/classify", explain=True)
        assert all(result["nearest_examples"] is None for result in stored["results"])
        once = self.ask(every_client, "/v1/classify", examples=examples(SUPPORT), model=MAML, explain=True)
        assert all(len(result["nearest_examples"]) == 3 for result in once["results"])
