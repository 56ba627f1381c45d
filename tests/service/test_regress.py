"""Regression over HTTP on a real socket: vectors or pictures with targets in, numbers with their spread out."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from meta_core import checkpoint
from meta_core.batching import adapt_many, predict_many
from meta_core.card import Part, Training
from meta_core.episode import SupportSet
from meta_core.learner import AdaptOptions
from meta_core.preprocess import InputSpec
from meta_core.train_regression import train_regression
from service.app import create_app
from service.settings import Settings
from tests.meta_core.test_train_regression import tiny
from tests.service.running import b64, digits, drawings, examples, png, serving, wait_until_answered

WAVES, POSES, DRAWINGS = "tiny-waves", "tiny-poses", "omniglot-protonet"


def wave(x: float) -> float:
    return 3 * math.sin(x - 1)


POINTS = [{"vector": [x], "target": wave(x)} for x in np.linspace(-5, 5, 12).tolist()]
QUERIES = [{"vector": [x]} for x in (-3.3, 0.2, 4.1)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Waves that were trained for two seconds, poses that were not, and a model that classifies."""
    folder = tmp_path_factory.mktemp("models")
    train_regression(tiny(), out=folder / WAVES, device="cpu")
    write_poses(folder / POSES)
    (folder / DRAWINGS).symlink_to(drawings() / DRAWINGS)
    return folder


def write_poses(folder: Path) -> None:
    spec = InputSpec(channels=1, height=16, width=16)
    options = {"objective": "squared_error", "rate": 0.01, "steps": 2}
    learner, backbone = Part(name="mr_maml", options=options), Part(name="mlp", options={"hidden": [8], "outputs": 1})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = checkpoint.build_learner(learner, backbone, spec)
    training = Training(
        recipe="made-up",
        data="none",
        data_licence="none",
        steps=0,
        tasks_per_step=1,
        seed=0,
        validation_error=1,
        seconds=0,
        device="cpu",
        torch=torch.__version__,
    )
    described = {"name": POSES, "version": "1.0.0", "description": "Made up.", "licence": "Apache-2.0"}
    parts = {"learner": learner, "backbone": backbone, "input": spec, "training": training}
    checkpoint.save(folder, built, description=described | parts)


@pytest.fixture(scope="module")
def client(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    settings = Settings(models_dir=models, data_dir=tmp_path_factory.mktemp("service") / "data", device="cpu")
    with serving(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        wait_until_answered(client)
        yield client


def asked(client: httpx.Client, *, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/regress", json={"model": WAVES, "examples": POINTS, "queries": QUERIES} | body)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def values(answer: dict[str, Any]) -> list[float]:
    return [result["value"] for result in answer["results"]]


def test_the_answer_is_that_of_the_model_in_the_folder(client: httpx.Client, models: Path) -> None:
    learner = checkpoint.load(models / WAVES).learner
    inputs, targets = (torch.tensor([each[key] for each in POINTS]) for key in ("vector", "target"))
    support = SupportSet(inputs, targets[:, None], torch.ones(len(POINTS)))
    states = adapt_many(learner, [support], options=AdaptOptions())
    (expected,) = predict_many(learner, states, [torch.tensor([query["vector"] for query in QUERIES])])
    answer = asked(client)
    assert values(answer) == pytest.approx(expected[:, 0].tolist(), abs=1e-5)
    assert answer["model"] == WAVES
    assert [result["index"] for result in answer["results"]] == [0, 1, 2]


def test_a_value_does_not_depend_on_the_other_queries(client: httpx.Client) -> None:
    together = asked(client)
    alone = [asked(client, queries=[query]) for query in QUERIES]
    for number, answer in enumerate(alone):
        assert answer["results"][0]["value"] == pytest.approx(values(together)[number], abs=1e-5)
        assert answer["results"][0]["spread"] == pytest.approx(together["results"][number]["spread"], abs=1e-5)


def test_the_spread_is_what_leaving_each_example_out_says(client: httpx.Client) -> None:
    answer = asked(client)
    squares = np.zeros(len(QUERIES))
    for left in POINTS:
        others = [point for point in POINTS if point is not left]
        told = values(asked(client, examples=others, queries=[{"vector": left["vector"]}, *QUERIES]))
        squares += (np.array(told[1:]) - values(answer)) ** 2 + (told[0] - float(left["target"])) ** 2  # type: ignore[arg-type]
    assert answer["left_out"] == len(POINTS)
    found = [result["spread"] for result in answer["results"]]
    assert found == pytest.approx(np.sqrt(squares / len(POINTS)).tolist(), rel=1e-4)


def test_one_example_has_no_spread_and_many_are_left_out_in_part(client: httpx.Client) -> None:
    one = asked(client, examples=POINTS[:1])
    assert one["left_out"] == 0
    assert all(result["value"] is not None and result["spread"] is None for result in one["results"])
    assert asked(client, examples=POINTS * 3)["left_out"] == 16


def test_adaptation_takes_the_options_of_the_card(client: httpx.Client) -> None:
    assert values(asked(client, adapt={"steps": 0})) != values(asked(client, adapt={"steps": 4}))
    assert asked(client, status=422, adapt={"steps": 500})["code"] == "invalid_options"


def test_pictures_are_taken_where_the_model_takes_pictures(client: httpx.Client) -> None:
    shown = [{"image": b64(data), "target": float(label)} for label, data in digits(2, labels=(1, 4, 7))]
    queries = [{"image": b64(data)} for _, data in digits(1, start=9, labels=(1, 4))]
    answer = asked(client, model=POSES, examples=shown, queries=queries)
    assert all(math.isfinite(result["value"]) and result["spread"] > 0 for result in answer["results"])
    broken = [queries[0], {"image": b64(b"no picture")}, queries[1]]
    results = asked(client, model=POSES, examples=shown, queries=broken)["results"]
    assert [result["value"] for result in results] == [values(answer)[0], None, values(answer)[1]]
    assert results[1]["error"]["code"] == "undecodable_image"
    assert asked(client, status=422, model=POSES, examples=shown, queries=broken[1:2])["code"] == "undecodable_image"


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        ({"model": DRAWINGS}, "wrong_task", "classifies: it learns from labels"),
        ({"model": None}, "wrong_task", f"regressions are: {POSES}, {WAVES}"),
        ({"queries": [{"vector": [1.0, 2.0]}]}, "invalid_request", "queries.0.vector has 2 numbers"),
        ({"queries": [{"image": "AAAA"}]}, "invalid_request", "takes vectors of 1 numbers"),
        ({"model": POSES}, "invalid_request", "takes pictures; body.examples.0.image is missing"),
        ({"examples": [{"vector": [1.0], "label": "one"}]}, "invalid_request", "label"),
        ({"examples": [{"vector": [1.0]}]}, "invalid_request", "target"),
        ({"queries": [{"vector": [1.0], "image": "AAAA"}]}, "invalid_request", "a vector or an image"),
        ({"queries": [{}]}, "invalid_request", "a vector or an image"),
        ({"examples": [{"vector": ["1"], "target": True}]}, "invalid_request", "should be a number"),
        ({"queries": [{"vector": [1e300]}]}, "adaptation_diverged", "left the finite numbers"),
    ],
)
def test_what_does_not_fit_is_told(client: httpx.Client, body: dict[str, Any], code: str, told: str) -> None:
    problem = asked(client, status=422, **body)
    assert problem["code"] == code
    assert told in problem["detail"] + str(problem["errors"])


def test_a_regression_does_not_classify(client: httpx.Client) -> None:
    labelled = examples(digits(2, labels=(1, 4)))
    picture = b64(png(np.zeros((8, 8), np.uint8)))
    for path, body in (
        ("/v1/classifiers", {"model": WAVES, "examples": labelled}),
        ("/v1/classify", {"model": POSES, "examples": labelled, "images": [picture]}),
    ):
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "wrong_task")
        assert "POST /v1/regress" in answer.json()["detail"]
    targets = [{"image": picture, "target": 1.0}] * 2
    answer = client.post("/v1/classify", json={"examples": targets, "images": [picture]})
    assert answer.status_code == 422
    assert {tuple(error["loc"])[-1] for error in answer.json()["errors"]} == {"target", "label"}


def test_the_models_say_which_is_a_regression_and_none_is_the_default(client: httpx.Client) -> None:
    cards = {card["name"]: card for card in client.get("/v1/models").json()["data"]}
    assert {name: card["task"] for name, card in cards.items()} == {
        DRAWINGS: "classification",
        POSES: "regression",
        WAVES: "regression",
    }
    assert cards[WAVES]["input"] == {"numbers": 1, "mean": [0.0], "std": [1.0]}
    assert [name for name, card in cards.items() if card["default"]] == [DRAWINGS]
