"""JSON bodies that are none, and fields that are not what a route takes."""

import json
from typing import Any

import pytest

from tests.hostile.requests import (
    CLASSIFY,
    CREATE,
    GOOD,
    INVALID,
    JSON,
    LARGE,
    NOT_JSON,
    ONCE,
    QUERIES,
    UNKNOWN_MODEL,
    UPLOAD,
    Case,
    Target,
    json_body,
    raw_json,
)
from tests.service.running import b64, examples

SUPPORT = examples(GOOD)
IMAGES = [b64(data) for data in QUERIES]
IMAGE = IMAGES[0]
WHOLE: dict[str, dict[str, Any]] = {
    CREATE: {"examples": SUPPORT},
    CLASSIFY: {"images": IMAGES},
    ONCE: {"examples": SUPPORT, "images": IMAGES},
}
NAMES = {CREATE: "create", CLASSIFY: "classify", ONCE: "once"}

BODIES: dict[str, tuple[bytes, str, tuple[int, str]]] = {
    "nothing": (b"", "body: is empty; expected a JSON object", INVALID),
    "an array": (b"[]", "should be a JSON object", INVALID),
    "a string": (b'"examples"', "should be a JSON object", INVALID),
    "a number": (b"12", "should be a JSON object", INVALID),
    "true": (b"true", "should be a JSON object", INVALID),
    "null": (b"null", "should be a JSON object", INVALID),
    "an empty object": (b"{}", "Field required", INVALID),
    "no JSON": (b"examples=1", "not UTF-8 encoded JSON", NOT_JSON),
    "cut JSON": (json.dumps(WHOLE[ONCE]).encode()[:-20], "not UTF-8 encoded JSON", NOT_JSON),
    "two documents": (b"{}{}", "not UTF-8 encoded JSON", NOT_JSON),
    "blanks": (b"  \n ", "not UTF-8 encoded JSON", NOT_JSON),
    "a comment": (b"{} // all", "not UTF-8 encoded JSON", NOT_JSON),
    "single quotes": (b"{'images': []}", "not UTF-8 encoded JSON", NOT_JSON),
    "Latin-1": ('{"name": "é"}'.encode("latin-1"), "not UTF-8", NOT_JSON),
    "UTF-16": ('{"name": "é"}'.encode("utf-16"), "not UTF-8", NOT_JSON),
    "a UTF-8 surrogate": (b'{"name": "\xed\xa0\x80"}', "not UTF-8", NOT_JSON),
    "a lone surrogate": (rb'{"name": "\ud800"}', "surrogate", NOT_JSON),
    "a lone low surrogate": (rb'{"name": "\udc00"}', "surrogate", NOT_JSON),
    "a surrogate as a key": (rb'{"\ud800": 1}', "surrogate", NOT_JSON),
    "NaN": (b'{"top_k": NaN}', "not UTF-8 encoded JSON", NOT_JSON),
    "Infinity": (b'{"ttl_seconds": Infinity}', "not UTF-8 encoded JSON", NOT_JSON),
    "a number over all": (b'{"metadata": {"n": 1e999}}', "infinity", NOT_JSON),
    "two thousand brackets": (b"[" * 2000 + b"]" * 2000, "depth limit", NOT_JSON),
    "two thousand open brackets": (b"[" * 2000, "not UTF-8 encoded JSON", NOT_JSON),
    "a hundred thousand brackets": (b"[" * 100_000 + b"]" * 100_000, "about 100000 JSON values; at most", LARGE),
    "a million zeros": (b'{"examples": [' + b"0," * 10**6 + b"0]}", "about 1000002 JSON values", LARGE),
    "a million objects": (b'{"images": [' + b"{}," * 10**6 + b"{}]}", "about 2000003 JSON values", LARGE),
    "a million keys": (b'{"k0": 0' + b', "k": 0' * 10**6 + b"}", "about 1000001 JSON values", LARGE),
    "forty thousand zeros": (b'{"examples": [' + b"0," * 40_000 + b'0], "images": [0, 0, 0, 0]}', "more)", INVALID),
    "a key of a million letters": (b'{"' + b"k" * 10**6 + b'": 0}', "Extra inputs are not permitted", INVALID),
}
BODY_CASES = [
    Case(f"{NAMES[path]}: {name}", path, raw_json(body), (says,), how)
    for name, (body, says, how) in BODIES.items()
    for path in WHOLE
]


def deep(levels: int) -> Any:
    return {"a": deep(levels - 1)} if levels else None


def many(count: int, labels: int) -> list[dict[str, str]]:
    return [{"label": str(number % labels), "image": "a"} for number in range(count)]


FIELDS: dict[str, list[tuple[Any, str]]] = {
    "examples": [
        (None, "should be a JSON array"),
        ([], "at least 1 item"),
        ({}, "should be a JSON array"),
        ("cat", "should be a JSON array"),
        ([1], "examples.0: should be a JSON object"),
        ([[]], "examples.0: should be a JSON object"),
        ([{}], "examples.0.label: Field required"),
        ([{"label": "a"}], "examples.0.image: Field required"),
        ([{**SUPPORT[0], "weight": 2}], "examples.0.weight: Extra inputs are not permitted"),
        ([{**SUPPORT[0], "image": None}], "examples.0.image: Input should be a valid string"),
        ([{**SUPPORT[0], "image": 1}], "examples.0.image: Input should be a valid string"),
        ([{**SUPPORT[0], "image": [IMAGE]}], "examples.0.image: Input should be a valid string"),
        (SUPPORT[:2], "at least two labels; all 2 are '3'"),
        (SUPPORT[:1], "at least two labels; all 1 are '3'"),
        (many(201, 201), "201 different labels came; a classifier takes at most 200"),
        (many(2001, 2), "2001 examples came; a classifier takes at most 2000"),
    ],
    "images": [
        (None, "should be a JSON array"),
        ([], "at least 1 item"),
        ({}, "should be a JSON array"),
        (IMAGE, "should be a JSON array"),
        ([1], "images.0: Input should be a valid string"),
        ([None], "images.0: Input should be a valid string"),
        ([{"image": IMAGE}], "images.0: Input should be a valid string"),
    ],
    "model": [(1, "valid string"), ("m" * 10_000, "at most 64 characters"), (["auto"], "valid string")],
    "name": [
        (1, "valid string"),
        ("n" * 10_000, "at most 200 characters"),
        ("a\0b", "U+0000"),
        ("a\nb", "U+000A"),
        ("\u200b", "U+200B"),
        ("\u200d", "nothing that can be seen"),
    ],
    "ttl_seconds": [
        (0, "greater than or equal to 1"),
        (-1, "greater than or equal to 1"),
        (10**9, "less than or equal to"),
        (10**30, "exceeded maximum size"),
        (1.5, "integer"),
        ("600", "integer"),
        (True, "integer"),
        ("soon", "integer"),
        ([], "integer"),
    ],
    "metadata": [
        ([], "should be a JSON object"),
        ("text", "should be a JSON object"),
        (None, "should be a JSON object"),
        ({"text": "x" * 16_384}, "the metadata is 16396 bytes as JSON; at most 16384 are kept"),
        ({"many": list(range(5000))}, "bytes as JSON; at most 16384 are kept"),
        (deep(400), "is nested too deeply"),
    ],
    "adapt": [
        ([], "should be a JSON object"),
        ({"steps": -1}, "adapt.steps"),
        ({"steps": 10**30}, "adapt.steps"),
        ({"rate": 0}, "adapt.rate"),
        ({"optimizer": "adam"}, "adapt.optimizer: Extra inputs are not permitted"),
    ],
    "top_k": [
        (0, "greater than or equal to 1"),
        (-5, "greater than or equal to 1"),
        (10**30, "exceeded maximum size"),
        (1.5, "integer"),
        (True, "integer"),
        ("all", "integer"),
        ([1], "integer"),
    ],
    "none_threshold": [
        (-0.1, "greater than or equal to 0"),
        (2, "less than or equal to 1"),
        ("low", "number"),
        (True, "number"),
    ],
    "explain": [("perhaps", "boolean"), (2, "boolean"), (1, "boolean")],
    "unknown": [(1, "unknown: Extra inputs are not permitted")],
}
TAKEN = {
    CREATE: ("examples", "model", "name", "ttl_seconds", "metadata", "adapt", "unknown"),
    CLASSIFY: ("images", "top_k", "none_threshold", "explain", "unknown"),
    ONCE: ("examples", "images", "model", "adapt", "top_k", "none_threshold", "explain", "unknown"),
}
FIELD_CASES = [
    Case(f"{NAMES[path]}: {field} {number}", path, json_body({**WHOLE[path], field: value}), (f"body.{field}", says))
    for path, fields in TAKEN.items()
    for field in fields
    for number, (value, says) in enumerate(FIELDS[field])
    if "came" not in says and "all" not in says and "bytes" not in says
] + [
    Case(f"{NAMES[path]}: {field} {number}", path, json_body({**WHOLE[path], field: value}), (says,))
    for path, fields in TAKEN.items()
    for field in fields
    for number, (value, says) in enumerate(FIELDS[field])
    if "came" in says or "all" in says or "bytes" in says
]

LABELS: dict[str, tuple[Any, str]] = {
    "empty": ("", "at least 1 character"),
    "blank": (" \t ", "at least 1 character"),
    "invisible": ("\u200d\u200f", "nothing that can be seen"),
    "too long": ("l" * 10_000, "at most 200 characters"),
    "a NUL": ("a\0b", "U+0000"),
    "a bell": ("a\x07b", "U+0007"),
    "an escape": ("\x1b[31mred", "U+001B"),
    "a line break": ("a\nb", "U+000A"),
    "a line separator": ("a\u2028b", "U+2028"),
    "reversed text": ("a\u202eb", "U+202E"),
    "a space of no width": ("c\u200bat", "U+200B"),
    "a byte order mark": ("\ufeffcat", "U+FEFF"),
    "a number": (3, "valid string"),
    "null": (None, "valid string"),
    "an array": (["a"], "valid string"),
}


def label_case(name: str, path: str) -> Case:
    label, says = LABELS[name]
    body = {**WHOLE[path], "examples": [*SUPPORT, {"label": label, "image": IMAGE}]}
    return Case(f"{NAMES[path]}: a label, {name}", path, json_body(body), (f"examples.{len(SUPPORT)}.label", says))


TOO_MANY = {"images": ["a"] * 1001}
OTHER = [
    Case("classify: too many images", CLASSIFY, json_body(TOO_MANY), ("1001 images came; at most 1000",), LARGE),
    Case("once: too many images", ONCE, json_body(WHOLE[ONCE] | TOO_MANY), ("1001 images came; at most 1000",), LARGE),
    *(
        Case(
            f"{NAMES[path]}: unknown model",
            path,
            json_body(WHOLE[path] | {"model": "nothing"}),
            ("no model is called 'nothing'; there are: omniglot-",),
            UNKNOWN_MODEL,
        )
        for path in (CREATE, ONCE)
    ),
    *(
        Case(
            f"{NAMES[path]}: options that the model lacks",
            path,
            json_body(WHOLE[path] | {"adapt": {"steps": 5}}),
            ("steps",),
            (422, "invalid_options"),
        )
        for path in (CREATE, ONCE)
    ),
]

CASES = [*BODY_CASES, *FIELD_CASES, *(label_case(name, path) for name in LABELS for path in (CREATE, ONCE)), *OTHER]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_body_that_makes_no_sense_is_refused_and_told_why(target: Target, case: Case) -> None:
    target.refuses(case)


SCRIPTS = {
    "Hebrew": "שלום",
    "Arabic with a mark of direction": "مرحبا\u200f",
    "Persian with a joiner": "می\u200cخواهم",
    "an ideographic space": "東京\u3000駅",
    "a space that does not break": "a\xa0b",
    "a family": "👨\u200d👩\u200d👧",
    "a heart with a variation": "❤️",
    "a flag of tags": "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "an emoji newer than Python": "🫨",
    "a combining accent": "e\u0301",
    "markup": "<b>&'\"\\",
    "what joins labels": "a,b;[c]{d}",
    "two hundred characters": "l" * 200,
}


@pytest.mark.parametrize("path", [CREATE, UPLOAD])
def test_labels_of_every_script_come_back_as_they_came(target: Target, path: str) -> None:
    labels = list(SCRIPTS.values())
    pairs = [(label, GOOD[number % len(GOOD)][1]) for number, label in enumerate(labels)]
    if path == CREATE:
        answer = target.client.post(path, json={"examples": examples(pairs)})
    else:
        files = [("files", (f"{number}.png", data)) for number, (_, data) in enumerate(pairs)]
        answer = target.client.post(path, files=files, data={"labels": labels})
    assert answer.status_code == 201, answer.text
    location = answer.headers["location"]
    for described in (answer.json(), target.client.get(location).json()):
        assert [entry["label"] for entry in described["labels"]] == labels
    asked = target.client.post(f"{location}/classify", json={"images": [IMAGE]}).json()
    assert {entry["label"] for entry in asked["results"][0]["predictions"]} == set(labels)
    assert target.client.delete(location).status_code == 204


def test_blanks_around_a_label_make_no_other_label(target: Target) -> None:
    pairs = [(" 3 ", GOOD[0][1]), ("3", GOOD[1][1]), ("\t4\n", GOOD[2][1])]
    answer = target.client.post(ONCE, json={"examples": examples(pairs), "images": [IMAGE]})
    assert {entry["label"] for entry in answer.json()["results"][0]["predictions"]} == {"3", "4"}


def test_of_a_key_that_comes_twice_the_last_counts(target: Target) -> None:
    body = json.dumps(WHOLE[CLASSIFY])[:-1] + ', "top_k": 3, "top_k": 1}'
    answer = target.client.post(f"/v1/classifiers/{target.classifier_id}/classify", content=body, headers=JSON)
    assert [len(result["predictions"]) for result in answer.json()["results"]] == [1] * len(IMAGES)


def test_more_labels_than_there_are_may_be_asked_for(target: Target) -> None:
    body = WHOLE[CLASSIFY] | {"top_k": 2**62}
    answer = target.client.post(f"/v1/classifiers/{target.classifier_id}/classify", json=body)
    assert [len(result["predictions"]) for result in answer.json()["results"]] == [3] * len(IMAGES)


def test_metadata_at_its_limits_comes_back_as_it_came(target: Target) -> None:
    metadata = {"deep": deep(100), "large": 2**63, "small": -1.5e-300, "🐱": None, "text": "x" * 14_000, "": {"": []}}
    created = target.client.post(CREATE, json={"examples": SUPPORT, "metadata": metadata})
    assert created.status_code == 201, created.text
    location = created.headers["location"]
    assert created.json()["metadata"] == target.client.get(location).json()["metadata"] == metadata
    assert target.client.delete(location).status_code == 204
