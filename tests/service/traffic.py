"""Clients that create classifiers and classify, and know what the right answers are."""

import random
from dataclasses import dataclass
from typing import Any

import httpx

from tests.service.running import b64, digits, examples, probabilities

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Kind:
    """A support set with queries, and what a lone client was answered."""

    support: list[dict[str, str]]
    images: list[str]
    expected: list[dict[str, float]]


def kinds(client: httpx.Client) -> list[Kind]:
    """Support sets of different ways and shots, each asked once while nobody else asks."""
    made = []
    for number, (ways, shots) in enumerate([(2, 1), (3, 5), (5, 1), (5, 5), (10, 2), (10, 4), (7, 3), (4, 8)]):
        labels = [(number + label) % 10 for label in range(ways)]
        support = examples(digits(shots, start=10 * number, labels=labels))
        images = [b64(data) for _, data in digits(1, start=90 + number, labels=labels)]
        answer = client.post("/v1/classify", json={"examples": support, "images": images})
        assert answer.status_code == 200, answer.text
        made.append(Kind(support, images, probabilities(answer.json())))
    return made


def is_right(kind: Kind, answer: httpx.Response) -> bool:
    """Whether an answer is the lone client's, to the tolerance."""
    if answer.status_code != 200:
        return False
    given = probabilities(answer.json())
    return len(given) == len(kind.expected) and all(
        one.keys() == other.keys() and max(abs(one[label] - other[label]) for label in one) <= TOLERANCE
        for one, other in zip(given, kind.expected, strict=True)
    )


def is_shed(answer: httpx.Response) -> bool:
    """A refusal that says when to come again."""
    return answer.status_code == 503 and int(answer.headers.get("retry-after", 0)) > 0


def classify(client: httpx.Client, kind: Kind, identifier: str) -> httpx.Response:
    return client.post(f"/v1/classifiers/{identifier}/classify", json={"images": kind.images})


def create(client: httpx.Client, kind: Kind) -> httpx.Response:
    return client.post("/v1/classifiers", json={"examples": kind.support})


def one_round(client: httpx.Client, kind: Kind, choice: random.Random) -> list[str]:
    """Create, classify, sometimes delete, sometimes ask statelessly; what went wrong."""
    wrong: list[str] = []

    def check(what: str, answer: httpx.Response, *, right: bool) -> None:
        if not right and not is_shed(answer):
            wrong.append(f"{what}: {answer.status_code} {answer.text[:200]}")

    created = create(client, kind)
    check("create", created, right=created.status_code == 201)
    if created.status_code == 201:
        identifier: str = created.json()["id"]
        for _ in range(choice.randint(1, 3)):
            answer = classify(client, kind, identifier)
            check("classify", answer, right=is_right(kind, answer))
        if choice.random() < 0.5:
            deleted = client.delete(f"/v1/classifiers/{identifier}")
            check("delete", deleted, right=deleted.status_code == 204)
    if choice.random() < 0.3:
        body: dict[str, Any] = {"examples": kind.support, "images": kind.images}
        answer = client.post("/v1/classify", json=body)
        check("stateless", answer, right=is_right(kind, answer))
    return wrong
