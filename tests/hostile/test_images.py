"""What is not one whole still picture of a bearable size, on every route that takes pictures."""

import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from meta_core.errors import UndecodableImage
from meta_core.preprocess import InputSpec, decode
from tests.hostile.requests import (
    ARCHIVE,
    CLASSIFY,
    CLASSIFY_UPLOAD,
    CREATE,
    GOOD,
    INVALID,
    LABELS,
    ONCE,
    ONCE_UPLOAD,
    QUERIES,
    UNDECODABLE,
    UPLOAD,
    Case,
    Target,
    black_png,
    chunk,
    json_body,
    zeros,
)
from tests.service.running import b64, examples, probabilities


class Bad(NamedTuple):
    """A file that is no picture, made when needed, and what is said of it."""

    data: Callable[[], bytes]
    says: str


NOISE = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)


def encoded(format_: str, *, frames: int = 1, **options: Any) -> bytes:
    pictures, buffer = [Image.fromarray(frame) for frame in NOISE[:frames]], io.BytesIO()
    more: dict[str, Any] = {"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}
    pictures[0].save(buffer, format_, **more, **options)
    return buffer.getvalue()


def cut(format_: str) -> bytes:
    whole = encoded(format_)
    return whole[: len(whole) // 2]


def webp_of(width: int, height: int) -> bytes:
    """A lossless WebP of which the header alone is there."""
    payload = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(1000)
    body = b"WEBPVP8L" + struct.pack("<I", len(payload)) + payload + b"\0"
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff_of_directories(count: int) -> bytes:
    """A stack of so many frames of one pixel: counting them takes quadratic time."""
    tags = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1)]
    entries = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    size = len(entries) + 4
    following = [*(8 + (number + 1) * size for number in range(count - 1)), 0]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(entries + struct.pack("<I", place) for place in following)


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG that goes over its pixels again and again, a few bytes each time."""
    buffer = io.BytesIO()
    Image.new("L", (64, 48), 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    third = data.index(b"\xff\xda", second + 2)
    return data[:third] + data[second:third] * count + data[third:]


def gif_of_frames(count: int) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame * count + b";"


def png_of_text(size: int) -> bytes:
    """A small PNG with a comment that unpacks to so many bytes."""
    return black_png(8, 8, before=chunk(b"zTXt", b"Comment\0\0" + b"".join(zeros(size, wbits=zlib.MAX_WBITS))))


def damaged_png() -> bytes:
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


def float_tiff() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ones((9, 9), np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def an_archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("cat/0.png", GOOD[0][1])
    return buffer.getvalue()


BAD = {
    "text": Bad(lambda: b"not a picture", "format is not recognized; expected JPEG, PNG, WEBP, GIF, BMP, TIFF"),
    "html": Bad(lambda: b"<!doctype html><title>404</title>", "not recognized"),
    "svg": Bad(lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "not recognized"),
    "pdf": Bad(lambda: b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF", "not recognized"),
    "zip": Bad(an_archive, "not recognized"),
    "zeros": Bad(lambda: bytes(5000), "not recognized"),
    "jpeg cut": Bad(lambda: cut("JPEG"), "truncated"),
    "png cut": Bad(lambda: cut("PNG"), "truncated"),
    "webp cut": Bad(lambda: cut("WEBP"), "cannot be decoded"),
    "gif cut": Bad(lambda: cut("GIF"), "truncated"),
    "bmp cut": Bad(lambda: cut("BMP"), "truncated"),
    "tiff cut": Bad(lambda: cut("TIFF"), "cannot be decoded"),
    "png damaged": Bad(damaged_png, "cannot be decoded"),
    "png signature alone": Bad(lambda: encoded("PNG")[:8], "cannot be decoded"),
    "jpeg signature alone": Bad(lambda: encoded("JPEG")[:4], "cannot be decoded"),
    "png 20000": Bad(lambda: black_png(20000, 20000), "400000000 pixels; at most 50000000"),
    "png 13300": Bad(lambda: black_png(13300, 13300), "13300×13300 = 176890000 pixels; at most 50000000"),
    "webp 16383": Bad(lambda: webp_of(16383, 16383), "268402689 pixels; at most 50000000"),
    "gif animated": Bad(lambda: encoded("GIF", frames=3), "animation or a stack of 2 frames"),
    "png animated": Bad(lambda: encoded("PNG", frames=3), "animation or a stack of 2 frames"),
    "webp animated": Bad(lambda: encoded("WEBP", frames=3, lossless=True), "animation or a stack of 2 frames"),
    "tiff stack": Bad(lambda: encoded("TIFF", frames=3), "animation or a stack of 2 frames"),
    "gif of 20000 frames": Bad(lambda: gif_of_frames(20_000), "animation or a stack of 2 frames"),
    "tiff of 30000 frames": Bad(lambda: tiff_of_directories(30_000), "animation or a stack of 2 frames"),
    "jpeg of 2000 scans": Bad(lambda: jpeg_of_scans(2000), "more than 100 scans"),
    "png with a text bomb": Bad(lambda: png_of_text(100 << 20), "cannot be decoded"),
    "tiff of floats": Bad(float_tiff, "32-bit float"),
}


@functools.cache
def made(name: str) -> bytes:
    return BAD[name].data()


def upload(field: str, files: list[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [(field, (f"{number}.png", data)) for number, data in enumerate(files)]


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, (label, good) in enumerate(GOOD):
            archive.writestr(f"{label}/{number}.png", good)
        archive.writestr("8/bad.png", data)
    return buffer.getvalue()


FILES = [data for _, data in GOOD]
SUPPORT = examples(GOOD)
IMAGES = [b64(data) for data in QUERIES]
LAST = len(GOOD)
ROUTES: dict[str, tuple[str, Callable[[bytes], dict[str, Any]], str]] = {
    "create": (CREATE, lambda bad: {"json": {"examples": examples([*GOOD, ("8", bad)])}}, f"examples.{LAST}.image"),
    "create upload": (
        UPLOAD,
        lambda bad: {"files": upload("files", [*FILES, bad]), "data": {"labels": [*LABELS, "8"]}},
        f"files.{LAST}",
    ),
    "create archive": (ARCHIVE, lambda bad: {"files": {"archive": ("a.zip", zipped(bad))}}, "archive.8/bad.png"),
    "classify": (CLASSIFY, lambda bad: {"json": {"images": [b64(bad)]}}, "images.0"),
    "classify upload": (CLASSIFY_UPLOAD, lambda bad: {"files": upload("files", [bad])}, "files.0"),
    "once, an example": (
        ONCE,
        lambda bad: {"json": {"examples": examples([*GOOD, ("8", bad)]), "images": IMAGES}},
        f"examples.{LAST}.image",
    ),
    "once, a query": (ONCE, lambda bad: {"json": {"examples": SUPPORT, "images": [b64(bad)]}}, "images.0"),
    "once upload, an example": (
        ONCE_UPLOAD,
        lambda bad: {
            "files": upload("support", [*FILES, bad]) + upload("queries", QUERIES),
            "data": {"labels": [*LABELS, "8"]},
        },
        f"support.{LAST}",
    ),
    "once upload, a query": (
        ONCE_UPLOAD,
        lambda bad: {"files": upload("support", FILES) + upload("queries", [bad]), "data": {"labels": LABELS}},
        "queries.0",
    ),
}


def case_of(name: str, route: str) -> Case:
    path, body, place = ROUTES[route]
    return Case(
        f"{route}: {name}",
        path,
        lambda: body(made(name)),
        (f"body.{place}", BAD[name].says, "pictures cannot be used"),
        UNDECODABLE,
    )


CASES = [case_of(name, route) for name in BAD for route in ROUTES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_no_picture_is_refused_with_its_place_and_the_reason(target: Target, case: Case) -> None:
    target.refuses(case)


EMPTY = [
    Case(f"{route}: an empty file", path, functools.partial(body, b""), (place, says), how)
    for route, (path, body, place) in ROUTES.items()
    for says, how in [
        ("at least 1 character", INVALID) if path in (CREATE, CLASSIFY, ONCE) else ("empty (0 bytes)", UNDECODABLE)
    ]
]


@pytest.mark.parametrize("case", EMPTY, ids=lambda case: case.name)
def test_an_empty_picture_is_refused_as_empty(target: Target, case: Case) -> None:
    target.refuses(case)


TEXTS = {
    "a web address": ("https://example.org/cat.jpg", "nothing is fetched"),
    "a web address in capitals": ("HTTP://example.org/cat.jpg", "nothing is fetched"),
    "a file address": ("file:///etc/passwd", "not base64"),
    "a data URI without base64": ("data:image/png,%89PNG", "not of the form data:image/…;base64,…"),
    "a data URI without a comma": ("data:image/png;base64", "not of the form data:image/…;base64,…"),
    "a data URI of nothing": ("data:image/png;base64,", "empty (0 bytes)"),
    "blanks": (" \n ", "empty (0 bytes)"),
    "garbage": ("!!!not*base64!!!", "not base64"),
    "letters beyond ASCII": ("łódź", "not base64"),
    "wrong padding": (b64(GOOD[0][1])[:-3], "not base64"),
    "base64 twice": (b64(b64(GOOD[0][1]).encode()), "format is not recognized"),
    "a NUL": ("\0", "not base64"),
}


def text_cases(name: str) -> list[Case]:
    text, says = TEXTS[name]
    bodies: dict[str, tuple[str, dict[str, Any]]] = {
        "create": (CREATE, {"examples": [*SUPPORT, {"label": "8", "image": text}]}),
        "classify": (CLASSIFY, {"images": [text]}),
        "once, an example": (ONCE, {"examples": [*SUPPORT, {"label": "8", "image": text}], "images": IMAGES}),
        "once, a query": (ONCE, {"examples": SUPPORT, "images": [text, text]}),
    }
    return [
        Case(f"{route}: {name}", path, json_body(body), (says,), UNDECODABLE) for route, (path, body) in bodies.items()
    ]


TEXT_CASES = [case for name in TEXTS for case in text_cases(name)]


@pytest.mark.parametrize("case", TEXT_CASES, ids=lambda case: case.name)
def test_a_text_that_is_no_picture_is_refused(target: Target, case: Case) -> None:
    target.refuses(case)


@pytest.mark.parametrize(
    "write",
    [
        lambda text: "\r\n".join(text[start : start + 76] for start in range(0, len(text), 76)) + "\n",
        lambda text: f"data:image/png;base64,{text}",
        lambda text: f"data:image/png;charset=utf-8;base64,{text}",
        lambda text: f"data:;base64,{text}",
    ],
    ids=["line breaks", "a data URI", "a data URI with a parameter", "a data URI without a type"],
)
def test_base64_is_taken_as_tools_write_it(target: Target, write: Callable[[str], str]) -> None:
    images = [write(b64(data)) for data in QUERIES]
    answer = target.client.post(f"/v1/classifiers/{target.classifier_id}/classify", json={"images": images})
    assert answer.status_code == 200, answer.text
    assert probabilities(answer.json()) == target.expected


@pytest.mark.parametrize("name", ["text", "jpeg cut", "png 20000", "gif animated", "jpeg of 2000 scans"])
def test_a_bad_query_among_good_ones_is_an_error_at_its_place(target: Target, name: str) -> None:
    files = upload("files", [QUERIES[0], made(name), *QUERIES[1:]])
    answer = target.client.post(f"/v1/classifiers/{target.classifier_id}/classify/upload", files=files)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    bad = results.pop(1)
    assert BAD[name].says in bad["error"]["detail"]
    assert bad["error"]["code"] == ("image_too_large" if name == "png 20000" else "undecodable_image")
    assert (bad["prediction"], bad["confidence"], bad["predictions"]) == (None, None, [])
    assert probabilities({"results": results}) == target.expected


def test_every_bad_example_is_named(target: Target) -> None:
    pairs = [*GOOD, ("8", made("text")), ("8", made("png 13300")), ("3", made("jpeg cut"))]
    answer = target.client.post(CREATE, json={"examples": examples(pairs)})
    assert "3 of 9 pictures cannot be used" in answer.json()["detail"]
    assert [(error["loc"], error["type"]) for error in answer.json()["errors"]] == [
        (["body", "examples", 6, "image"], "undecodable_image"),
        (["body", "examples", 7, "image"], "image_too_large"),
        (["body", "examples", 8, "image"], "undecodable_image"),
    ]


def test_a_picture_of_a_million_parts_is_given_up() -> None:
    segments = b"\xff\xe1\0\x09Exif\0\0a" * 100_000
    whole = encoded("JPEG")
    with pytest.raises(UndecodableImage, match=r"more than 0\.05 s to decode"):
        decode(whole[:2] + segments + whole[2:], InputSpec(height=28, width=28), max_seconds=0.05)
