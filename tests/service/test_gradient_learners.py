"""What is particular to models that adapt their whole network: divergence, work, pictures, many users at once."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.app import create_app
from service.settings import Settings
from tests.service.gradient import FRAGILE, MAML
from tests.service.running import (
    assert_same,
    b64,
    digits,
    examples,
    png,
    probabilities,
    serving,
    wait_until_answered,
)

QUERIES = [b64(data) for _, data in digits(2, start=20, labels=(1, 2, 3))]
SUPPORT = digits(3, labels=(1, 2, 3))
TOO_FAR = {"steps": 10, "rate": 3}


def pictures(count: int, *, seed: int = 0, of: Callable[[np.random.Generator], Any] | None = None) -> list[bytes]:
    generator = np.random.default_rng(seed)
    make = of or (lambda generator: generator.integers(0, 256, (28, 28)))
    return [png(np.asarray(make(generator), dtype=np.uint8)) for _ in range(count)]


@contextmanager
def app(models: Path, data: Path, **settings: Any) -> Iterator[httpx.Client]:
    """A client of a service of its own, in this process."""
    settings = {"models_dir": models, "data_dir": data, "device": "cpu", "threads": 1, **settings}
    with serving(create_app(Settings(**settings))) as url, httpx.Client(base_url=url, timeout=60) as client:
        wait_until_answered(client)
        yield client


def once(client: httpx.Client, support: list[tuple[str, bytes]], *, model: str = MAML, **body: Any) -> httpx.Response:
    return client.post("/v1/classify", json={"model": model, "examples": examples(support), "images": QUERIES, **body})


def assert_honest(answer: httpx.Response) -> None:
    """Finite probabilities that sum to 1, or a refusal that says what to do."""
    if answer.status_code == 422:
        assert answer.json()["code"] == "adaptation_diverged"
        assert "fewer steps or a smaller rate" in answer.json()["detail"]
        return
    assert answer.status_code == 200, answer.text
    for row in probabilities(answer.json()):
        assert all(0 <= value <= 1 for value in row.values())
        assert sum(row.values()) == pytest.approx(1, abs=1e-9)


def test_thirty_users_at_once_get_what_each_alone_gets(every_client: httpx.Client) -> None:
    def user(number: int) -> list[tuple[str, bytes]]:
        ways = 2 + number % 4
        return digits(1 + number % 3, start=number, labels=[(number + way) % 10 for way in range(ways)])

    def ask(number: int) -> list[dict[str, float]]:
        answer = once(every_client, user(number))
        assert answer.status_code == 200, answer.text
        return probabilities(answer.json())

    with ThreadPoolExecutor(30) as pool:
        together = list(pool.map(ask, range(30)))
    for number, answer in enumerate(together):
        assert_same(answer, ask(number), tolerance=1e-4)


NOISE = [(str(number % 2), data) for number, data in enumerate(pictures(10))]


def test_a_job_that_diverges_fails_alone(every_client: httpx.Client) -> None:
    # Pictures that are all the same have no gradient, whatever the rate; noise has. The same options for all, as only
    # such are adapted together.
    same = [(str(number % 2), pictures(1)[0]) for number in range(10)]

    def ask(number: int) -> httpx.Response:
        return once(every_client, NOISE if number == 3 else same, model=FRAGILE, adapt=TOO_FAR)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    bad = answers.pop(3)
    assert (bad.status_code, bad.json()["code"]) == (422, "adaptation_diverged")
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert probabilities(answer.json())[0] == pytest.approx({"0": 0.5, "1": 0.5}, abs=1e-4)


def test_divergence_is_told_with_what_was_asked_and_stores_nothing(every_client: httpx.Client) -> None:
    before = every_client.get("/v1/classifiers").json()["data"]
    body = {"model": FRAGILE, "examples": examples(NOISE), "adapt": TOO_FAR}
    answer = every_client.post("/v1/classifiers", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "adaptation_diverged")
    assert "steps 10, rate 3" in answer.json()["detail"]
    assert every_client.get("/v1/classifiers").json()["data"] == before


ODD: dict[str, list[bytes]] = {
    "black": pictures(6, of=lambda _: np.zeros((28, 28))),
    "white": pictures(6, of=lambda _: np.full((28, 28), 255)),
    "one dot": pictures(6, of=lambda generator: np.eye(784)[generator.integers(784)].reshape(28, 28) * 255),
    "noise": pictures(6),
    "black or white": pictures(6, of=lambda generator: generator.integers(0, 2, (28, 28)) * 255),
    "one pixel": pictures(6, of=lambda generator: generator.integers(0, 256, (1, 1))),
}


@pytest.mark.parametrize(
    "adapt", [{"steps": 0}, {"rate": 0.01}, {"steps": 1, "rate": 10}, {"steps": 20, "rate": 10}], ids=str
)
@pytest.mark.parametrize("odd", ODD)
def test_options_at_their_limits_on_odd_pictures_are_answered_or_refused(
    every_client: httpx.Client, odd: str, adapt: dict[str, float]
) -> None:
    support = [(str(number % 2), data) for number, data in enumerate(ODD[odd])]
    for model in (MAML, FRAGILE):
        assert_honest(once(every_client, support, model=model, adapt=adapt))


def test_one_shot_of_one_class_and_fifty_of_another_are_both_heard(every_client: httpx.Client) -> None:
    (rare,), common = digits(1, labels=(1,)), digits(50, labels=(2,))
    images = [b64(rare[1]), b64(common[0][1])]
    answer = once(every_client, [rare, *common], adapt={"steps": 20, "rate": 0.2}, images=images)
    assert_honest(answer)
    assert [result["prediction"] for result in answer.json()["results"]] == ["1", "2"]


def test_a_hundred_ways_are_served(every_client: httpx.Client) -> None:
    support = [(f"way {number}", data) for number, data in enumerate(pictures(100))]
    answer = once(every_client, support)
    assert_honest(answer)
    assert len(probabilities(answer.json())[0]) == 100


def test_a_single_class_is_refused(every_client: httpx.Client) -> None:
    answer = once(every_client, digits(3, labels=(1,)))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "at least two labels" in answer.json()["detail"]


def test_contradictory_labels_on_identical_pictures_leave_it_undecided(every_client: httpx.Client) -> None:
    ((_, picture),) = digits(1, labels=(4,))
    answer = once(every_client, [("this", picture), ("that", picture)] * 5, images=[b64(picture)])
    assert_honest(answer)
    assert probabilities(answer.json())[0] == pytest.approx({"this": 0.5, "that": 0.5}, abs=1e-6)


FORM_SUPPORT = [("support", (f"{number}.png", data, "image/png")) for number, (_, data) in enumerate(SUPPORT)]
FORM_QUERIES = [("queries", ("q.png", digits(1, start=20, labels=(1,))[0][1], "image/png"))]
LABELS = ",".join(label for label, _ in SUPPORT)


def form(client: httpx.Client, adapt: str) -> httpx.Response:
    data = {"labels": LABELS, "model": MAML, "adapt": adapt}
    return client.post("/v1/classify/upload", files=[*FORM_SUPPORT, *FORM_QUERIES], data=data)


def test_options_in_a_form_do_what_they_do_in_json(every_client: httpx.Client) -> None:
    options = {"steps": 2, "rate": 1.5}
    by_json = once(every_client, SUPPORT, adapt=options, images=QUERIES[:1])
    by_form = form(every_client, json.dumps(options))
    plain = form(every_client, "")
    assert_same(probabilities(by_form.json()), probabilities(by_json.json()))
    assert probabilities(plain.json()) != probabilities(by_form.json())
    files = [("files", file) for _, file in FORM_SUPPORT]
    data = {"labels": LABELS, "model": MAML, "adapt": json.dumps(options)}
    stored = every_client.post("/v1/classifiers/upload", files=files, data=data)
    assert stored.status_code == 201, stored.text
    assert stored.json()["adapt"] == options


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("steps=2", "body.adapt: Invalid JSON"),
        ("[]", "body.adapt: "),
        ('{"steps": 2.5}', "body.adapt.steps: Input should be a valid integer"),
        ('{"steps": -1}', "body.adapt.steps: Input should be greater than or equal to 0"),
        ('{"steps": 21}', "adapt.steps is 21; the options of model made-maml are: steps from 0 to 20"),
        ('{"rate": NaN}', "body.adapt.rate: Input should be a finite number"),
        ('{"rate": 1e999}', "body.adapt.rate: Input should be a finite number"),
        ('{"momentum": 1}', "body.adapt.momentum: Extra inputs are not permitted"),
        ("[" * 900, "body.adapt: Invalid JSON"),
        ("{" + " " * 1000 + "}", "at most 1000 characters"),
    ],
)
def test_options_in_a_form_that_are_none_are_refused(every_client: httpx.Client, text: str, says: str) -> None:
    answer = form(every_client, text)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("steps", [2.5, "many", -1, 1e30])
def test_steps_are_a_whole_number(every_client: httpx.Client, steps: Any) -> None:
    answer = once(every_client, SUPPORT, adapt={"steps": steps})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "adapt.steps" in answer.json()["detail"]


def test_more_work_than_the_limit_is_refused_with_what_would_be_taken(maml_alone: Path, tmp_path: Path) -> None:
    with app(maml_alone, tmp_path / "data", limits={"adapt_pictures_steps": 45}) as client:
        assert client.get("/version").json()["limits"]["adapt_pictures_steps"] == 45
        assert once(client, SUPPORT).status_code == 200
        for body in ({"adapt": {"steps": 6}}, {"examples": examples(digits(4, labels=(1, 2, 3)))}):
            answer = once(client, SUPPORT, **body)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert "12 examples × 5 steps" in answer.json()["detail"]
        assert "set adapt.steps to at most 3" in answer.json()["detail"]
        assert once(client, digits(4, labels=(1, 2, 3)), adapt={"steps": 3}).status_code == 200


@pytest.mark.parametrize("keep", [False, True])
def test_pictures_are_on_disk_only_where_they_may_be_kept(
    maml_alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    if keep:
        monkeypatch.setenv("KSHOT_KEEP_IMAGES", "true")
    data, generator = tmp_path / "data", np.random.default_rng(0)
    images = [generator.integers(0, 256, (28, 28), dtype=np.uint8) for _ in range(4)]
    support = [(str(number % 2), png(image)) for number, image in enumerate(images)]
    with app(maml_alone, data) as client:
        created = client.post("/v1/classifiers", json={"examples": examples(support)})
        assert created.status_code == 201, created.text
        assert created.json()["examples"] == 4
        answer = client.post(f"{created.headers['location']}/classify", json={"images": QUERIES})
        assert answer.status_code == 200
        on_disk = b"".join(file.read_bytes() for file in data.iterdir())
    on_disk += b"".join(file.read_bytes() for file in data.iterdir())
    for (_, file), image in zip(support, images, strict=True):
        normalized = ((image.astype(np.float32) / 255 - 0.5) / 0.5).astype(np.float32)
        # Parts of the picture, as pages of the database divide what is long.
        found = [part.tobytes() in on_disk for part in (image[4], normalized[4])]
        assert [file[100:200] in on_disk, *found] == [False, False, keep]


def test_what_memory_has_no_room_for_is_answered_the_same_from_disk(maml_alone: Path, tmp_path: Path) -> None:
    def answers(budget: int) -> list[list[dict[str, float]]]:
        with app(maml_alone, tmp_path / str(budget), state_cache_bytes=budget) as client:
            made = []
            for first in range(5):
                support = examples(digits(2, labels=(first, first + 1, first + 2)))
                made.append(client.post("/v1/classifiers", json={"examples": support}).headers["location"])
            rounds = [client.post(f"{path}/classify", json={"images": QUERIES}).json() for path in made * 2]
            return [probabilities(answer) for answer in rounds]

    from_memory = answers(10**9)
    for budget in (0, 10_000):  # a state of three labels takes 3.8 kB
        for one, other in zip(answers(budget), from_memory, strict=True):
            assert_same(one, other)
