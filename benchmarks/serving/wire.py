"""Requests as they go over the wire, made once."""

import json
import uuid
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.serving.contestants import label
from benchmarks.serving.settings import WAYS


class Form(NamedTuple):
    """A body and what it is."""

    content: bytes
    kind: str


class Part(NamedTuple):
    """Of a multipart form; a file where it has bytes that are a JPEG."""

    field: str
    content: bytes
    file: bool = True


def multipart(parts: Sequence[Part]) -> Form:
    """`multipart/form-data`."""
    boundary = uuid.uuid4().hex
    pieces = []
    for number, part in enumerate(parts):
        name = f'; filename="{number}.jpg"\r\nContent-Type: image/jpeg' if part.file else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{part.field}"{name}\r\n\r\n'
        pieces += [head.encode(), part.content, b"\r\n"]
    content = b"".join([*pieces, f"--{boundary}--\r\n".encode()])
    return Form(content, f"multipart/form-data; boundary={boundary}")


def one_picture(jpeg: bytes, *, field: str | None) -> Form:
    """To classify: as a form's field, or as it is."""
    return Form(jpeg, "image/jpeg") if field is None else multipart([Part(field, jpeg)])


def support_set(pictures: Sequence[bytes], *, field: str) -> list[Part]:
    """The fields of labelled pictures."""
    labels = json.dumps([label(number % WAYS) for number in range(len(pictures))]).encode()
    return [*(Part(field, picture) for picture in pictures), Part("labels", labels, file=False)]


def prepared(host: str, port: int, path: str, form: Form) -> bytes:
    """Head and body."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {form.kind}\r\n"
    return f"{head}Content-Length: {len(form.content)}\r\n\r\n".encode() + form.content
