"""A hundred thousand of what is sent by the dozen, and bodies that say they are something else."""

import json

import pytest

from tests.hostile.requests import (
    ARCHIVE,
    CLASSIFY,
    CLASSIFY_UPLOAD,
    CREATE,
    GOOD,
    INVALID,
    LARGE,
    ONCE,
    ONCE_UPLOAD,
    UPLOAD,
    Case,
    Target,
    file_parts,
    part,
    raw_form,
    raw_json,
)

MANY = 100_000
NAMES = [f"{number}" for number in range(MANY)]
FILES = file_parts("files", [data for _, data in GOOD])
LABELS = {
    "fields": [part("labels", name.encode()) for name in NAMES],
    "an array": [part("labels", json.dumps(NAMES).encode())],
    "an object": [part("labels", json.dumps(dict.fromkeys(NAMES, "a")).encode())],
    "joined": [part("labels", ",".join(NAMES).encode())],
    "lines": [part("labels", "\n".join(NAMES).encode())],
}
SAYS = {
    "fields": ("over a limit", LARGE),
    "an array": ("100000 labels came with 6 files", INVALID),
    "an object": ("over a limit", LARGE),
    "joined": ("100000 labels came with 6 files", INVALID),
    "lines": ("100000 labels came with 6 files", INVALID),
}
JSON_OF_MANY = json.dumps({"examples": [{"label": name, "image": "a"} for name in NAMES]}).encode()
CASES = [
    *(
        Case(f"labels, {name}", UPLOAD, raw_form(*FILES, *LABELS[name]), (SAYS[name][0],), SAYS[name][1])
        for name in LABELS
    ),
    *(
        Case(f"examples: {path}", path, raw_json(JSON_OF_MANY), ("JSON values; at most",), LARGE)
        for path in (CREATE, ONCE)
    ),
    Case(
        "metadata of many",
        CREATE,
        raw_json(json.dumps({"metadata": dict.fromkeys(NAMES)}).encode()),
        ("JSON values",),
        LARGE,
    ),
]
KINDS = [
    "text/plain",
    "text/html",
    "application/xml",
    "application/x-www-form-urlencoded",
    "image/png",
    "a/b; c",
    "*/*",
]
PATHS = {CREATE: "application/json", UPLOAD: "multipart", ARCHIVE: "multipart", CLASSIFY: "application/json"}
PATHS |= {CLASSIFY_UPLOAD: "multipart", ONCE: "application/json", ONCE_UPLOAD: "multipart"}
CASES += [
    Case(f"{kind}: {path}", path, lambda kind=kind: {"content": b"{}", "headers": {"content-type": kind}}, (expected,))  # type: ignore[misc]
    for kind in KINDS
    for path, expected in PATHS.items()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_refused_and_told_why(target: Target, case: Case) -> None:
    target.refuses(case)
