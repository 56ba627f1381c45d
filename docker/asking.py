"""Asks a running kshot over HTTP, one call at a time or as traffic, with nothing but Python's own library."""

import base64
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SECONDS = 60

Pairs = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Pictures:
    """Real pictures: some to learn from, others to ask about, each with its label."""

    support: Pairs
    queries: Pairs

    @classmethod
    def read(cls, zipped: Path, *, ways: int = 5, shots: int = 5, queries: int = 3) -> "Pictures":
        """The first labels, and of each the first pictures, of a zip of `label/file`."""
        with zipfile.ZipFile(zipped) as archive:
            names = sorted(name for name in archive.namelist() if name.count("/") == 1 and not name.endswith("/"))
            grouped = {label: list(files) for label, files in itertools.groupby(names, lambda name: name.split("/")[0])}
            full = {label: files for label, files in grouped.items() if len(files) >= shots + queries}
            if len(full) < ways:
                raise SystemExit(f"{zipped} has {len(full)} labels of {shots + queries} pictures; expected {ways}")
            # Apart in the alphabet: neighbours may be two names of the same thing.
            labels = list(full)[:: len(full) // ways][:ways]
            support = [(label, archive.read(name)) for label in labels for name in full[label][:shots]]
            asked = [(label, archive.read(name)) for label in labels for name in full[label][shots : shots + queries]]
        return cls(support, asked)


@dataclass(frozen=True)
class Answer:
    """What came back: the status, 0 where the connection broke, and the JSON of it."""

    status: int
    body: Any


@dataclass(frozen=True)
class Kshot:
    """Where one is, and the key that it wants."""

    url: str
    key: str | None = None

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Send a request."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                return Answer(answer.status, json.loads(answer.read() or b"null"))
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            return Answer(error.code, json.loads(text) if "json" in error.headers.get_content_type() else text)
        except (OSError, ValueError) as error:  # refused, reset, cut off
            return Answer(0, f"{type(error).__name__}: {error}")

    def create(self, pairs: Pairs) -> Answer:
        """Make a classifier."""
        return self.ask("POST", "/v1/classifiers", {"examples": _examples(pairs)})

    def classify(self, identifier: str, pictures: Pairs) -> Answer:
        """Ask a classifier."""
        return self.ask("POST", f"/v1/classifiers/{identifier}/classify", {"images": _images(pictures)})

    def classify_at_once(self, pictures: Pictures) -> Answer:
        """Adapt and classify in one call; nothing is stored."""
        body = {"examples": _examples(pictures.support), "images": _images(pictures.queries)}
        return self.ask("POST", "/v1/classify", body)


@dataclass(frozen=True)
class Call:
    """One request of the traffic: when it was sent and answered, on one clock, and what was answered."""

    what: str
    began: float
    ended: float
    answer: Answer


@dataclass
class Traffic:
    """What several clients sent, and what they were answered."""

    calls: list[Call] = field(default_factory=list)

    @property
    def acknowledged(self) -> list[str]:
        """The ids of all classifiers whose creation was answered 201."""
        return [call.answer.body["id"] for call in self.calls if call.what == "create" and call.answer.status == 201]

    def failed(self, *, but: Sequence[int] = ()) -> list[Call]:
        """Those not answered as asked, nor by a status that is excused."""
        return [call for call in self.calls if call.answer.status not in (200, 201, *but)]


@contextmanager
def traffic(kshot: Kshot, pictures: Pictures, *, clients: int = 4) -> Iterator[Traffic]:
    """Clients that create classifiers and ask them, until the block is left; a broken connection is tried again."""
    seen, over = Traffic(), threading.Event()

    def call(what: str, *arguments: Any) -> Answer:
        began = time.monotonic()
        answer: Answer = getattr(kshot, what)(*arguments)
        seen.calls.append(Call(what, began, time.monotonic(), answer))
        if answer.status not in (200, 201):
            time.sleep(0.1)
        return answer

    def client() -> None:
        while not over.is_set():
            made = call("create", pictures.support[::2])
            if made.status == 201:
                for _ in range(4):
                    call("classify", made.body["id"], pictures.queries[::5])

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def right(answer: Answer, pictures: Pictures) -> int:
    """How many queries were classified as what they are."""
    predicted = [result["prediction"] or result["predictions"][0]["label"] for result in answer.body["results"]]
    return sum(told == label for told, (label, _) in zip(predicted, pictures.queries, strict=True))


def _examples(pairs: Pairs) -> list[dict[str, str]]:
    return [{"label": label, "image": base64.b64encode(data).decode()} for label, data in pairs]


def _images(pairs: Pairs) -> list[str]:
    return [base64.b64encode(data).decode() for _, data in pairs]
