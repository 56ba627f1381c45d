"""Forms that are broken, cut off or too large, labels that do not match the files, and bodies of another type."""

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.hostile.requests import (
    ARCHIVE,
    BAD,
    BOUNDARY,
    CLASSIFY,
    CLASSIFY_UPLOAD,
    CREATE,
    GOOD,
    INVALID,
    LABELS,
    LARGE,
    ONCE,
    ONCE_UPLOAD,
    QUERIES,
    UNKNOWN_MODEL,
    UPLOAD,
    Case,
    Target,
    file_parts,
    part,
    raw_form,
)
from tests.service.running import b64, examples, probabilities

FILES = [data for _, data in GOOD]
NAMES = {UPLOAD: "create upload", ARCHIVE: "archive", CLASSIFY_UPLOAD: "classify upload", ONCE_UPLOAD: "once upload"}
NAMES |= {CREATE: "create", CLASSIFY: "classify", ONCE: "once"}
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def labelled(path: str, labels: list[bytes]) -> list[bytes]:
    """The parts of a form with these labels."""
    given = [part("labels", label) for label in labels]
    if path == UPLOAD:
        return [*file_parts("files", FILES), *given]
    return [*file_parts("support", FILES), *given, *file_parts("queries", QUERIES)]


def of_names(labels: dict[str, Any]) -> list[bytes]:
    return [json.dumps(labels).encode()]


MATCHES: dict[str, tuple[list[bytes], str]] = {
    "one too few": ([label.encode() for label in LABELS[:-1]], "5 labels came with 6 files"),
    "one too many": ([label.encode() for label in [*LABELS, "8"]], "7 labels came with 6 files"),
    "too few in an array": ([json.dumps(LABELS[:2]).encode()], "2 labels came with 6 files"),
    "too many after commas": ([",".join([*LABELS, "8", "9"]).encode()], "8 labels came with 6 files"),
    "too few lines": (["\n".join(LABELS[:3]).encode()], "3 labels came with 6 files"),
    "one for all": ([b"cat"], "1 labels came with 6 files"),
    "nothing": ([b""], "1 labels came with 6 files"),
    "no label": ([], "body.labels: Field required"),
    "an object without a file": (
        of_names({f"{number}.png": str(number) for number in range(5)}),
        "5 names, but no label for the file '5.png'",
    ),
    "an object of numbers": (of_names({"0.png": 3, "1.png": 3}), "no label for the file '0.png'"),
    "an empty object": (of_names({}), "0 names, but no label for the file '0.png'"),
    "an array of arrays": ([b"[[1],[2],[3]]"], "3 labels came with 6 files"),
    "a hundred thousand brackets": ([b"[" * 100_000], "1 labels came with 6 files"),
    "an object nested deeply": ([b'{"a":' * 50_000], "1 labels came with 6 files"),
    "a number of 5000 digits": ([b"[" + b"1" * 5000 + b"]"], "1 labels came with 6 files"),
    "all the same": ([b"3,3,3,3,3,3"], "at least two labels; all 6 are '3'"),
    "an empty one": ([b"3,3,,4,8,8"], "labels.2: String should have at least 1 character"),
    "a blank one": ([b"3", b"3", b"4", b" ", b"8", b"8"], "labels.3: String should have at least 1 character"),
    "a lone surrogate": ([rb'["\ud800", "b", "c", "d", "e", "f"]'], "labels.0: Input should be a valid string"),
    "a NUL": ([b'["a\\u0000", "b", "c", "d", "e", "f"]'], "labels.0: contains the unprintable character U+0000"),
    "too long": ([b"a", b"b", b"c", b"d", b"e", b"l" * 10_000], "labels.5: String should have at most 200 characters"),
    "reversed text": (["a,b,c,d,e,\u202ef".encode()], "labels.5: contains the unprintable character U+202E"),
}
MATCH_CASES = [
    Case(f"{NAMES[path]}: labels, {name}", path, raw_form(*labelled(path, labels)), (says,))
    for name, (labels, says) in MATCHES.items()
    for path in (UPLOAD, ONCE_UPLOAD)
]

PARTS: dict[str, list[bytes]] = {
    UPLOAD: labelled(UPLOAD, [label.encode() for label in LABELS]),
    ARCHIVE: [part("archive", b"not read", "a.zip")],
    CLASSIFY_UPLOAD: file_parts("files", QUERIES),
    ONCE_UPLOAD: labelled(ONCE_UPLOAD, [label.encode() for label in LABELS]),
}
FIRST_FILE = {UPLOAD: "files", ARCHIVE: "archive", CLASSIFY_UPLOAD: "files", ONCE_UPLOAD: "support"}


def form_cases(path: str) -> list[Case]:
    """Forms that are broken as such."""
    parts, field = PARTS[path], FIRST_FILE[path]
    half = part(field, FILES[0], "a.png")[:-40]
    forms: dict[str, tuple[Callable[[], dict[str, Any]], str, tuple[int, str]]] = {
        "no boundary": (raw_form(*parts, kind="multipart/form-data"), "Missing boundary", BAD),
        "another boundary": (raw_form(*parts, kind=f"{MULTIPART}2"), "Invalid multipart data", BAD),
        "a long boundary": (raw_form(*parts, kind=MULTIPART + "b" * 10_000), "Invalid multipart data", BAD),
        "cut after a part": (raw_form(*parts, end=b""), "ends before its closing boundary", BAD),
        "cut in a file": (raw_form(*parts, half, end=b""), "ends before its closing boundary", BAD),
        "cut in a header": (raw_form(*parts, end=f"--{BOUNDARY}\r\nConte".encode()), "ends before", BAD),
        "cut in the last boundary": (raw_form(*parts, end=f"--{BOUNDARY}-".encode()), "ends before", BAD),
        "no body": (raw_form(end=b""), "ends before its closing boundary", BAD),
        "garbage": (raw_form(b"garbage", end=b""), "Invalid multipart data", BAD),
        "a part without a name": (raw_form(part(None, b"x"), *parts), '"name" must be provided', BAD),
        "a part without headers": (raw_form(f"--{BOUNDARY}\r\n\r\nx\r\n".encode(), *parts), "must be provided", BAD),
        "a header of 10 kB": (raw_form(part(field, b"x", "n" * 10_000), *parts), "Invalid multipart data", BAD),
        "a charset that is none": (raw_form(*parts, kind=f"{MULTIPART}; charset=klingon"), "'klingon'; expected", BAD),
        "a charset of escapes": (raw_form(*parts, kind=f"{MULTIPART}; charset=unicode_escape"), "expected UTF-8", BAD),
        "a charset of surrogates": (raw_form(*parts, kind=f"{MULTIPART}; charset=utf-7"), "expected UTF-8", BAD),
        "a charset that raises": (raw_form(*parts, kind=f"{MULTIPART}; charset=punycode"), "expected UTF-8", BAD),
        "an empty form": (raw_form(), f"body.{field}: Field required", INVALID),
        "other fields": (raw_form(part("pictures", FILES[0], "a.png")), f"body.{field}: Field required", INVALID),
        "text for a file": (raw_form(part(field, b"text")), "should be a file and came as text", INVALID),
        "1001 files": (raw_form(part(field, b"", "a.png") * 1001), "Maximum number of files is 1000", LARGE),
        "1100 fields": (raw_form(part("labels", b"a") * 1100), "Maximum number of fields is 1016", LARGE),
        "a field of 2 MB": (raw_form(*parts, part("model", bytes(2**21))), "maximum size of 1024KB", LARGE),
    }
    return [Case(f"{NAMES[path]}: {name}", path, body, (says,), how) for name, (body, says, how) in forms.items()]


FIELDS: dict[str, list[tuple[bytes, str, tuple[int, str]]]] = {
    "model": [
        (b"nothing", "no model is called 'nothing'; there are: omniglot-", UNKNOWN_MODEL),
        (b"m" * 10_000, "at most 64 characters", INVALID),
    ],
    "name": [
        (b"n" * 300, "at most 200 characters", INVALID),
        (b"a\0b", "U+0000", INVALID),
        (b"a\r\nb", "U+000D", INVALID),
    ],
    "ttl_seconds": [
        (b"0", "greater than or equal to 1", INVALID),
        (b"-1", "greater than or equal to 1", INVALID),
        (b"9" * 9, "less than or equal to", INVALID),
        (b"9" * 5000, "exceeded maximum size", INVALID),
        (b"1e3", "integer", INVALID),
        (b"NaN", "integer", INVALID),
        (b"soon", "integer", INVALID),
        ("١٢".encode(), "integer", INVALID),
    ],
    "top_k": [
        (b"0", "greater than or equal to 1", INVALID),
        (b"-1", "greater than or equal to 1", INVALID),
        (b"all", "integer", INVALID),
        (b"9" * 5000, "exceeded maximum size", INVALID),
    ],
}
TAKEN = {UPLOAD: ("model", "name", "ttl_seconds"), CLASSIFY_UPLOAD: ("top_k",), ONCE_UPLOAD: ("model", "top_k")}
FIELD_CASES = [
    Case(f"{NAMES[path]}: {field} {number}", path, raw_form(*PARTS[path], part(field, value)), (says,), how)
    for path, fields in TAKEN.items()
    for field in fields
    for number, (value, says, how) in enumerate(FIELDS[field])
]

BODIES: dict[str, bytes] = {
    CREATE: json.dumps({"examples": examples(GOOD)}).encode(),
    CLASSIFY: json.dumps({"images": [b64(data) for data in QUERIES]}).encode(),
    ONCE: json.dumps({"examples": examples(GOOD), "images": [b64(data) for data in QUERIES]}).encode(),
    **{path: raw_form(*parts)()["content"] for path, parts in PARTS.items()},
}
KINDS = [
    None, "", "text/plain", "text/json", "nonsense", "x" * 10_000, "application/octet-stream", "image/png",
    "application/x-www-form-urlencoded", f"multipart/mixed; boundary={BOUNDARY}", "application/json", MULTIPART,
]  # fmt: skip


def kind_case(path: str, kind: str | None) -> Case:
    headers = {} if kind is None else {"content-type": kind}
    came = "came without a Content-Type" if kind is None else f"came as '{kind[:90]}"
    expected = "multipart/form-data" if path in PARTS else "application/json"
    body = functools.partial(dict, content=BODIES[path], headers=headers)
    return Case(f"{NAMES[path]} as {str(kind)[:50]}", path, body, (came, f"expected {expected}"))


CASES = [
    *MATCH_CASES,
    *(case for path in PARTS for case in form_cases(path)),
    *FIELD_CASES,
    *(
        kind_case(path, kind)
        for path in BODIES
        for kind in KINDS
        if kind != (MULTIPART if path in PARTS else "application/json")
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_form_that_makes_no_sense_is_refused_and_told_why(target: Target, case: Case) -> None:
    target.refuses(case)


def test_what_comes_after_a_form_is_passed_over(target: Target) -> None:
    body = raw_form(*file_parts("files", QUERIES), end=f"--{BOUNDARY}--\r\nepilogue".encode())
    answer = target.client.post(f"/v1/classifiers/{target.classifier_id}/classify/upload", **body())
    assert answer.status_code == 200, answer.text
    assert probabilities(answer.json()) == target.expected


@pytest.mark.parametrize(
    "kind", [f"{MULTIPART}; charset=utf-8", f'Multipart/Form-Data; charset="UTF-8"; boundary="{BOUNDARY}"']
)
def test_a_form_in_utf_8_may_say_so(target: Target, kind: str) -> None:
    body = raw_form(*file_parts("files", QUERIES), kind=kind)
    answer = target.client.post(f"/v1/classifiers/{target.classifier_id}/classify/upload", **body())
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.kshot+json"])
def test_json_by_any_of_its_names_is_taken(target: Target, kind: str) -> None:
    answer = target.client.post(ONCE, content=BODIES[ONCE], headers={"content-type": kind})
    assert answer.status_code == 200, answer.text


def test_a_file_name_that_cannot_be_one_is_given_back_as_it_came(target: Target) -> None:
    name = "../../etc/🐱\u202e passwd%00.png"
    files = {"files": (name, QUERIES[0], "image/png")}
    answer = target.client.post(f"/v1/classifiers/{target.classifier_id}/classify/upload", files=files)
    assert answer.json()["results"][0]["filename"] == name
