"""Requests that must be refused, and what every refusal looks like: said well, nothing stored, nobody else harmed."""

import struct
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.service.running import REPOSITORY, Service, assert_same, b64, digits, examples, probabilities

GOOD = digits(2, labels=(3, 4, 8))
LABELS = [label for label, _ in GOOD]
QUERIES = [data for _, data in digits(1, start=5, labels=(3, 8))]
JSON = {"content-type": "application/json"}
BOUNDARY = "xYzZy"

CREATE, UPLOAD, ARCHIVE = "/v1/classifiers", "/v1/classifiers/upload", "/v1/classifiers/archive"
CLASSIFY, CLASSIFY_UPLOAD = "/v1/classifiers/{id}/classify", "/v1/classifiers/{id}/classify/upload"
ONCE, ONCE_UPLOAD = "/v1/classify", "/v1/classify/upload"

# A status and a code.
INVALID, UNDECODABLE, LARGE = (422, "invalid_request"), (422, "undecodable_image"), (413, "too_large")
NOT_JSON, BAD = (400, "invalid_json"), (400, "bad_request")
NOT_FOUND, UNKNOWN, UNKNOWN_MODEL = (404, "not_found"), (404, "unknown_classifier"), (404, "unknown_model")
NO_METHOD = (405, "method_not_allowed")


@dataclass(frozen=True)
class Case:
    """A request that is refused, and how.

    Attributes:
        name: of the test.
        path: `{id}` stands for a stored classifier's.
        body: makes httpx's arguments, only when they are sent: some are large.
        says: what the detail contains.
        how: status and code.
    """

    name: str
    path: str
    body: Callable[[], dict[str, Any]]
    says: Sequence[str]
    how: tuple[int, str] = INVALID
    method: str = "POST"

    def send(self, client: httpx.Client, classifier_id: str) -> httpx.Response:
        return client.request(self.method, self.path.replace("{id}", classifier_id), **self.body())


@dataclass(frozen=True)
class Target:
    """A service that is sent bad requests, with a classifier of somebody who has nothing to do with them."""

    service: Service
    client: httpx.Client
    classifier_id: str
    expected: list[dict[str, float]]

    @classmethod
    def of(cls, service: Service, client: httpx.Client) -> "Target":
        created = client.post(CREATE, json={"examples": examples(GOOD)})
        assert created.status_code == 201, created.text
        identifier: str = created.json()["id"]
        return cls(service, client, identifier, asked(client, identifier))

    def refuses(self, case: Case) -> None:
        """The case is answered as it says, stores nothing, and the next one is answered as before."""
        before = self.stored()
        assert_refused(case.send(self.client, self.classifier_id), case.how, case.says, self.service)
        assert self.stored() == before
        self.assert_unharmed()

    def stored(self) -> list[str]:
        """The ids of all classifiers."""
        ids: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.client.get(CREATE, params={"limit": 100, **cursor}).json()
            ids += [entry["id"] for entry in page["data"]]
            if not page["has_more"]:
                return ids
            cursor = {"cursor": page["next_cursor"]}

    def assert_unharmed(self) -> None:
        assert_same(asked(self.client, self.classifier_id), self.expected)


def asked(client: httpx.Client, classifier_id: str) -> list[dict[str, float]]:
    images = [b64(data) for data in QUERIES]
    answer = client.post(f"/v1/classifiers/{classifier_id}/classify", json={"images": images})
    assert answer.status_code == 200, answer.text
    return probabilities(answer.json())


def assert_refused(answer: httpx.Response, how: tuple[int, str], says: Sequence[str], service: Service) -> None:
    """A problem document that says what is wrong and nothing about the machine it comes from."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text[:1000]
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == how, answer.text[:1000]
    assert (problem["status"], problem["type"]) == (how[0], f"urn:kshot:problem:{how[1]}")
    assert problem["title"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    for fragment in says:
        assert fragment.lower() in problem["detail"].lower(), problem["detail"][:1000]
    for private in (sys.prefix, str(REPOSITORY), "site-packages", str(service.log.parent), "Traceback", ".py"):
        assert private not in answer.text
    assert len(answer.content) < 30_000


def json_body(value: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"json": value}


def raw_json(content: bytes) -> Callable[[], dict[str, Any]]:
    return lambda: {"content": content, "headers": JSON}


def part(name: str | None, data: bytes, filename: str | None = None) -> bytes:
    """A part of a form, as bytes, so that it may be wrong."""
    disposition = "form-data" + ("" if name is None else f'; name="{name}"')
    disposition += "" if filename is None else f'; filename="{filename}"'
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data + b"\r\n"


def raw_form(
    *parts: bytes, end: bytes = f"--{BOUNDARY}--\r\n".encode(), kind: str | None = None
) -> Callable[[], dict[str, Any]]:
    """A form made of such parts, with a Content-Type that may be wrong as well."""
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}" if kind is None else kind}
    return lambda: {"content": b"".join(parts) + end, "headers": headers}


def file_parts(field: str, files: Sequence[bytes]) -> list[bytes]:
    return [part(field, data, f"{number}.png") for number, data in enumerate(files)]


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def black_png(width: int, height: int, *, depth: int = 8, colour: int = 0, before: bytes = b"") -> bytes:
    """A PNG of zeros, however large: a thousandth of its pixels in bytes, and never more in memory.

    Args:
        width: pixels.
        height: pixels.
        depth: bits a sample.
        colour: PNG's colour type: 0 grey, 2 RGB, 3 palette, 6 RGBA.
        before: chunks before the pixels.
    """
    samples = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    row = 1 + (width * depth * samples + 7) // 8
    packed = b"".join(zeros(row * height, wbits=zlib.MAX_WBITS))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def zeros(count: int, *, wbits: int) -> list[bytes]:
    """So many zeros, compressed in pieces."""
    squeeze, block = zlib.compressobj(1, zlib.DEFLATED, wbits), bytes(2**20)
    pieces = [squeeze.compress(block) for _ in range(count // len(block))]
    return [*pieces, squeeze.compress(bytes(count % len(block))), squeeze.flush()]
