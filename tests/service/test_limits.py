"""Every limit of a request, lowered: what is over it is refused, what is at it is taken."""

import io
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.hostile.requests import (
    ARCHIVE,
    CLASSIFY,
    CLASSIFY_UPLOAD,
    CREATE,
    GOOD,
    JSON,
    LARGE,
    ONCE,
    ONCE_UPLOAD,
    QUERIES,
    UNDECODABLE,
    UPLOAD,
    Case,
    Target,
    assert_refused,
    black_png,
    chunk,
    file_parts,
    json_body,
    part,
    raw_form,
)
from tests.service.running import b64, digits, examples, png, running

LIMITS = {
    "body_bytes": 300_000,
    "files": 20,
    "file_bytes": 60_000,
    "pixels": 20_000_000,
    "archive_bytes": 200_000,
    "ways": 5,
    "examples": 12,
    "metadata_bytes": 100,
    "request_seconds": 2,
}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    settings = {f"KSHOT_LIMITS__{name.upper()}": str(value) for name, value in LIMITS.items()}
    with running(tmp_path_factory.mktemp("limited") / "data", **settings) as service, service.client() as client:
        yield Target.of(service, client)


def noise(size: int) -> bytes:
    """A picture of so many bytes."""
    data = png(np.random.default_rng(0).integers(0, 256, (100, 100), dtype=np.uint8))
    return data + bytes(size - len(data))


def zipped(entries: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


SUPPORT, FILES = examples(GOOD), [data for _, data in GOOD]
IMAGES = [b64(data) for data in QUERIES]
OVER = noise(60_001)
ENTRIES = [(f"{label}/{number}.png", data) for number, (label, data) in enumerate(GOOD)]
SIX = digits(1, labels=(0, 1, 2, 3, 4, 5))
MANY = digits(7, labels=(0, 1))[:13]


def archive(entries: list[tuple[str, bytes]]) -> Callable[[], dict[str, Any]]:
    return lambda: {"files": {"archive": ("a.zip", zipped(entries))}}


TAKEN = "came; a classifier takes at most"
CASES = [
    Case("21 files", UPLOAD, raw_form(part("files", b"", "a.png") * 21), ("Maximum number of files is 20",), LARGE),
    Case("21 queries", CLASSIFY_UPLOAD, raw_form(part("files", b"", "a.png") * 21), ("of files is 20",), LARGE),
    Case("21 files, once", ONCE_UPLOAD, raw_form(part("support", b"", "a.png") * 21), ("of files is 20",), LARGE),
    Case("21 entries", ARCHIVE, archive([(f"a/{n}", b"") for n in range(21)]), ("21 files; at most 20",), LARGE),
    Case("21 images", CLASSIFY, json_body({"images": IMAGES[:1] * 21}), ("21 images came; at most 20",), LARGE),
    Case("21 images, once", ONCE, json_body({"examples": SUPPORT, "images": IMAGES[:1] * 21}), ("21 images",), LARGE),
    Case(
        "bytes of a file",
        UPLOAD,
        raw_form(*file_parts("files", [*FILES, OVER]), part("labels", b"a,b,c,d,e,f,g")),
        ("file 6 ('6.png') has 60001 bytes; at most 60000",),
        LARGE,
    ),
    Case("bytes of a query", CLASSIFY_UPLOAD, raw_form(*file_parts("files", [OVER])), ("60001 bytes",), LARGE),
    Case(
        "bytes of an image", CLASSIFY, json_body({"images": [b64(OVER)]}), ("60001 bytes; at most 60000",), UNDECODABLE
    ),
    Case(
        "bytes of an example",
        CREATE,
        json_body({"examples": [*SUPPORT, {"label": "3", "image": b64(OVER)}]}),
        ("examples.6.image: the file has 60001 bytes; at most 60000",),
        UNDECODABLE,
    ),
    Case(
        "bytes of an entry",
        ARCHIVE,
        archive([*ENTRIES, ("3/over.png", OVER)]),
        ("unpacks to more than is taken: 60000 bytes a file", "'3/over.png'"),
        LARGE,
    ),
    Case(
        "bytes of all entries",
        ARCHIVE,
        archive([(f"{n % 2}/{n}.png", noise(51_000)) for n in range(4)]),
        ("200000 in all (at '1/3.png')",),
        LARGE,
    ),
    Case(
        "pixels",
        CLASSIFY,
        json_body({"images": [b64(black_png(5000, 4001, depth=1))]}),
        ("5000×4001 = 20005000 pixels; at most 20000000",),
        UNDECODABLE,
    ),
    Case("labels", CREATE, json_body({"examples": examples(SIX)}), (f"6 different labels {TAKEN} 5",)),
    Case("examples", CREATE, json_body({"examples": examples(MANY)}), (f"13 examples {TAKEN} 12",)),
    Case(
        "examples, once", ONCE, json_body({"examples": examples(MANY), "images": IMAGES}), (f"13 examples {TAKEN} 12",)
    ),
    Case(
        "examples in files",
        UPLOAD,
        raw_form(*file_parts("files", [data for _, data in MANY]), part("labels", b"a," * 12 + b"b")),
        (f"13 examples {TAKEN} 12",),
    ),
    Case(
        "examples in a zip",
        ARCHIVE,
        archive([(f"{n % 2}/{n}.png", FILES[0]) for n in range(13)]),
        (f"13 examples {TAKEN}",),
    ),
    Case(
        "metadata", CREATE, json_body({"examples": SUPPORT, "metadata": {"a": "x" * 100}}), ("109 bytes", "at most 100")
    ),
    Case(
        "values", ONCE, lambda: {"content": b"[" + b"0," * 20_000 + b"0]", "headers": JSON}, ("at most 10356",), LARGE
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_over_a_limit_is_refused_and_told_the_limit(limited: Target, case: Case) -> None:
    limited.refuses(case)


@pytest.mark.parametrize("size", [300_001, 3_000_000, 30_000_000])
@pytest.mark.parametrize("announced", [True, False], ids=["with Content-Length", "without Content-Length"])
@pytest.mark.parametrize("path", [CREATE, UPLOAD, ARCHIVE, CLASSIFY, CLASSIFY_UPLOAD, ONCE, ONCE_UPLOAD])
def test_a_body_over_the_limit_is_refused(limited: Target, path: str, announced: bool, size: int) -> None:
    def pieces() -> Iterator[bytes]:
        for start in range(0, size, 65_536):
            yield body[start : start + 65_536]

    upload = path.endswith(("upload", "archive"))
    form = raw_form(part("files", bytes(size), "a.png"))()
    body = form["content"][:size] if upload else b" " * size
    headers = form["headers"] if upload else JSON
    before = limited.stored()
    with limited.service.client() as client:
        url = path.replace("{id}", limited.classifier_id)
        answer = client.post(url, content=body if announced else pieces(), headers=headers)
    assert_refused(answer, LARGE, ["larger than 300000 bytes; send fewer or smaller pictures"], limited.service)
    assert answer.headers["connection"] == "close"
    limited.assert_unharmed()
    assert limited.stored() == before


def test_what_is_at_the_limits_is_taken(limited: Target) -> None:
    twelve, five = digits(3, labels=(0, 1, 2, 3)), digits(1, labels=(0, 1, 2, 3, 4))
    of_bytes = {"examples": examples(twelve), "images": [b64(noise(60_000))]}
    of_pixels = {"examples": examples(five), "images": [b64(black_png(5000, 4000, depth=1))]}
    for body in (of_bytes, of_pixels):
        answer = limited.client.post(ONCE, json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"][0]["error"] is None
    twenty = [("files", (f"{number}.png", QUERIES[0])) for number in range(20)]
    answer = limited.client.post(f"/v1/classifiers/{limited.classifier_id}/classify/upload", files=twenty)
    assert len(answer.json()["results"]) == 20


def test_limits_are_told(limited: Target) -> None:
    told = limited.client.get("/version").json()["limits"]
    assert told | LIMITS == told


def test_a_request_that_takes_too_long_is_dropped_and_told_to_come_again(limited: Target) -> None:
    # Sixteen megapixels of one bit each, in a palette with transparency: 2 kB that take a third of a second.
    palette = chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", b"\x80")
    slow = b64(black_png(4000, 4000, depth=1, colour=3, before=palette))
    body = {"examples": SUPPORT, "images": [slow] * 20}
    with limited.service.client() as client:
        answer = client.post(ONCE, json=body)
    assert answer.status_code == 503
    assert answer.json()["code"] == "deadline_exceeded"
    assert "took over 2 s and was dropped; send fewer pictures" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0
    limited.assert_unharmed()
