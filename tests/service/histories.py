"""A client's own account of its classifiers, by which what a service holds after a fault is judged."""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from tests.service.running import b64, digits, probabilities

LABELS = tuple(range(10))
MOST = 3
"""Classifiers of one writer: more would only take longer to judge."""

ASKED = 0.3
"""Share of changes after which the classifier is also asked, and held against one made anew."""


class Asks(Protocol):
    """What a writer needs of a client."""

    def request(self, method: str, url: str, *, json: Any = None, headers: Any = None) -> httpx.Response: ...


Pair = tuple[int, int]
"""A label, and the number of the digit that is shown for it; plus 1000 × (1 + digit) where that is another's."""

Pairs = tuple[Pair, ...]


class Contradiction(AssertionError):
    """An answer that no order of the acknowledged changes gives."""


@dataclass
class History:
    """What one classifier must hold: `pairs`, or `after` where the answer to the last change never came.

    Attributes:
        key: the Idempotency-Key that it was created with.
        pairs: examples in the order in which they came; None if it does not exist.
        identifier: None while no creation was acknowledged.
        after: None where nothing is pending.
    """

    key: str
    pairs: Pairs | None = None
    identifier: str | None = None
    after: "tuple[Pairs | None] | None" = None


@dataclass
class Writer:
    """Creates and changes its own classifiers, one request at a time.

    Args:
        seed: of what it does.
        clients: of replicas, any of which may be asked at any time.
    """

    seed: int
    clients: Sequence[Asks]
    histories: list[History] = field(default_factory=list)
    acknowledged: int = 0

    def __post_init__(self) -> None:
        self._choice = random.Random(self.seed)

    def step(self) -> None:
        """One change.

        Raises:
            Contradiction: it was answered as if the classifier were another.
            httpx.TransportError: no answer came; the history says so.
        """
        if len(self.histories) < MOST and (not self.histories or self._choice.random() < 0.3):
            self.histories.append(History(uuid.UUID(int=self._choice.getrandbits(128)).hex))
            self._create(self.histories[-1], self._some_pairs())
            return
        history = self._choice.choice(self.histories)
        changes = [self._add, self._remove, self._relabel, self._forget, self._delete]
        self._choice.choices(changes, (5, 3, 2, 1, 1))[0](history)

    def settle(self) -> None:
        """After a fault: what was pending was done wholly or not at all, and everything else is as acknowledged."""
        for history in list(self.histories):
            if history.identifier is None:  # the creation is sent again: the first answer, or the first time
                assert history.after is not None
                pairs = history.after[0]
                assert pairs is not None
                self._create(history, pairs)
            held = self._held(history)
            allowed = {_labels(history.pairs)} | ({_labels(history.after[0])} if history.after else set())
            if held not in allowed:
                raise Contradiction(f"{history.identifier} holds {held}; acknowledged was {allowed}")
            if history.after and held == _labels(history.after[0]):
                history.pairs = history.after[0]
            history.after = None
            if history.pairs is None:
                self.histories.remove(history)

    def check(self) -> None:
        """All classifiers answer as one made anew of the same examples."""
        for history in self.histories:
            assert history.pairs is not None
            self._check(history, history.pairs)

    def _check(self, history: History, pairs: Pairs) -> None:
        if (held := self._held(history)) != _labels(pairs):
            raise Contradiction(f"{history.identifier} holds {held}, not {_labels(pairs)}")
        images = [_image((label, 97)) for label in sorted({label for label, _ in pairs})]
        stored = self._ask("POST", f"/v1/classifiers/{history.identifier}/classify", {"images": images})
        fresh = self._ask("POST", "/v1/classify", {"images": images, "examples": _examples(pairs)})
        for one, other in zip(probabilities(stored.json()), probabilities(fresh.json()), strict=True):
            if max(abs(one[label] - other.get(label, 9.0)) for label in one) > 1e-5:
                raise Contradiction(f"{history.identifier} answers {one}, one made anew {other}")

    def _create(self, history: History, pairs: Pairs) -> None:
        history.after = (pairs,)
        body = {"examples": _examples(pairs)}
        made = self._ask("POST", "/v1/classifiers", body, status=201, headers={"Idempotency-Key": history.key})
        history.identifier = made.json()["id"]
        self._done(history)

    def _add(self, history: History) -> None:
        more = self._some_pairs()[: self._choice.randint(1, 3)]
        self._change(history, (*_pairs(history), *more), "POST", "/examples", {"examples": _examples(more)}, status=201)

    def _remove(self, history: History) -> None:
        pairs = _pairs(history)
        place = self._choice.randrange(len(pairs))
        left = (*pairs[:place], *pairs[place + 1 :])
        self._change(history, left, "DELETE", f"/examples/{self._ids(history)[place]}", status=204)

    def _relabel(self, history: History) -> None:
        pairs = _pairs(history)
        place, label = self._choice.randrange(len(pairs)), self._choice.choice(LABELS)
        # The picture stays; only what it is called changes.
        picture = pairs[place][1] % 1000 + 1000 * (1 + _shown(pairs[place]))
        changed = (*pairs[:place], (label, picture), *pairs[place + 1 :])
        self._change(history, changed, "PATCH", f"/examples/{self._ids(history)[place]}", {"label": str(label)})

    def _forget(self, history: History) -> None:
        pairs = _pairs(history)
        label = self._choice.choice(pairs)[0]
        left = tuple(pair for pair in pairs if pair[0] != label)
        self._change(history, left, "DELETE", f"/labels/{label}", status=204)

    def _delete(self, history: History) -> None:
        history.after = (None,)
        self._ask("DELETE", f"/v1/classifiers/{history.identifier}", status=204)
        self._done(history)
        if self._held(history) is not None:
            raise Contradiction(f"{history.identifier} is there after its deletion")
        self.histories.remove(history)

    def _change(
        self, history: History, after: Pairs, method: str, path: str, body: Any = None, *, status: int = 200
    ) -> None:
        enough = len({label for label, _ in after}) >= 2
        history.after = (after,) if enough else None
        self._ask(method, f"/v1/classifiers/{history.identifier}{path}", body, status=status if enough else 409)
        if enough:
            self._done(history)
        if self._choice.random() < ASKED:
            self._check(history, _pairs(history))
        elif (held := self._held(history)) != _labels(history.pairs):
            raise Contradiction(f"{history.identifier} holds {held}, not {_labels(history.pairs)}")

    def _done(self, history: History) -> None:
        assert history.after is not None
        history.pairs, history.after = history.after[0], None
        self.acknowledged += 1

    def _held(self, history: History) -> "tuple[str, ...] | None":
        """The labels of its examples in their order; None if it is not there."""
        answer = self._ask("GET", f"/v1/classifiers/{history.identifier}/examples?limit=100", status=None)
        return None if answer.status_code == 404 else tuple(item["label"] for item in answer.json()["data"])

    def _ids(self, history: History) -> list[str]:
        answer = self._ask("GET", f"/v1/classifiers/{history.identifier}/examples?limit=100")
        return [item["id"] for item in answer.json()["data"]]

    def _some_pairs(self) -> Pairs:
        ways, shots = self._choice.randint(2, 4), self._choice.randint(1, 3)
        labels = self._choice.sample(LABELS, ways)
        return tuple((label, self._choice.randrange(90)) for label in labels for _ in range(shots))

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        status: "int | None" = 200,
        headers: "dict[str, str] | None" = None,
    ) -> httpx.Response:
        answer = self._choice.choice(self.clients).request(method, path, json=body, headers=headers)
        if status is not None and answer.status_code != status:
            raise Contradiction(f"{method} {path}: {answer.status_code}, not {status}: {answer.text[:300]}")
        return answer


def _pairs(history: History) -> Pairs:
    assert history.pairs is not None
    return history.pairs


def _shown(pair: Pair) -> int:
    """Which digit a pair's picture shows: its label, unless it was relabelled."""
    label, number = pair
    return number // 1000 - 1 if number >= 1000 else label


def _image(pair: Pair) -> str:
    ((_, data),) = digits(1, start=pair[1] % 1000, labels=(_shown(pair),))
    return b64(data)


def _examples(pairs: Pairs) -> list[dict[str, str]]:
    return [{"label": str(pair[0]), "image": _image(pair)} for pair in pairs]


def _labels(pairs: "Pairs | None") -> "tuple[str, ...] | None":
    return None if pairs is None else tuple(str(label) for label, _ in pairs)
