"""`model: "auto"` takes the model that tells this very support set apart."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from meta_core.preprocess import InputSpec
from tests.made_up import small_learner, write_model
from tests.service.gradient import write_maml
from tests.service.running import MODELS, assert_same, b64, digits, examples, png, probabilities, running

SUPPORT = digits(5, labels=(1, 3, 7))
IMAGES = [b64(data) for _, data in digits(2, start=5, labels=(1, 3, 7))]


def colours(count: int, *, seed: int) -> list[tuple[str, bytes]]:
    """Noise in two colours of one brightness, which a model that sees grey alone cannot tell apart."""
    rng = np.random.default_rng(seed)
    pairs = []
    for label, tint in (("red", (120, 40, 40)), ("green", (40, 79, 40))):
        for _ in range(count):
            noise = rng.integers(0, 60, (32, 32, 1))
            pairs.append((label, png((np.array(tint) + noise).astype(np.uint8))))
    return pairs


@pytest.fixture(scope="module")
def choosy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A model for characters, one that has seen nothing but sees colours, and one that cannot be scored."""
    folder = tmp_path_factory.mktemp("auto")
    (folder / "models").mkdir()
    (folder / "models" / "omniglot-protonet").symlink_to(MODELS / "omniglot-protonet")
    spec = InputSpec(channels=3, height=16, width=16, mean=(0.5,), std=(0.5,))
    write_model(folder / "models" / "colours", small_learner("protonet", shape=spec.shape), spec=spec)
    write_maml(folder / "models" / "a-maml")
    options = {"models_dir": folder / "models", "KSHOT_DEFAULT_MODEL": "omniglot-protonet"}
    with running(folder / "data", **options) as started, started.client() as client:
        yield client


def test_characters_and_colours_get_each_their_own(choosy: httpx.Client) -> None:
    chosen = {}
    for kind, support in {"characters": SUPPORT, "colours": colours(5, seed=0)}.items():
        answer = choosy.post("/v1/classifiers", json={"examples": examples(support), "model": "auto"})
        assert answer.status_code == 201, answer.text
        chosen[kind] = answer.json()["model"]
        reason = answer.json()["model_choice"]["reason"]
        assert reason.index(chosen[kind]) == min(reason.index(name) for name in ("omniglot-protonet", "colours"))
        assert "100.0 % right" in reason
        assert "a-maml" not in reason
        assert choosy.get(answer.headers["Location"]).json() == answer.json()
    assert chosen == {"characters": "omniglot-protonet", "colours": "colours"}


def test_the_stateless_call_answers_as_the_chosen_model_does_when_named(choosy: httpx.Client) -> None:
    for support, model in ((SUPPORT, "omniglot-protonet"), (colours(5, seed=0), "colours")):
        images = IMAGES if model != "colours" else [b64(data) for _, data in colours(3, seed=1)]
        body = {"examples": examples(support), "images": images, "explain": True}
        by_choice = choosy.post("/v1/classify", json=body | {"model": "auto"}).json()
        by_name = choosy.post("/v1/classify", json=body | {"model": model}).json()
        assert by_choice["model"] == model
        assert_same(probabilities(by_choice), probabilities(by_name))
        assert [result["nearest_examples"] for result in by_choice["results"]] == [
            result["nearest_examples"] for result in by_name["results"]
        ]
        assert by_choice["timings_ms"]["encode"] > 0


def test_one_example_a_label_gets_the_default_and_is_told_why(choosy: httpx.Client) -> None:
    body = {"examples": examples(digits(1, labels=(1, 3, 7))), "images": IMAGES, "model": "auto"}
    answer = choosy.post("/v1/classify", json=body).json()
    assert answer["model"] == "omniglot-protonet"
    assert "one example" in answer["model_choice"]["reason"]


def test_options_that_no_candidate_takes_are_refused(choosy: httpx.Client) -> None:
    body = {"examples": examples(SUPPORT), "model": "auto", "adapt": {"steps": 3}}
    answer = choosy.post("/v1/classifiers", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_options")


def test_a_model_that_cannot_be_scored_still_answers_where_it_is_the_only_one(maml_alone: Path, tmp_path: Path) -> None:
    with running(tmp_path / "data", models_dir=maml_alone) as started, started.client() as client:
        answer = client.post("/v1/classify", json={"examples": examples(SUPPORT), "images": IMAGES, "model": "auto"})
    assert answer.status_code == 200, answer.text
    assert "no other model" in answer.json()["model_choice"]["reason"]
