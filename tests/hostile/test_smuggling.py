"""Requests that two parsers could cut in different places: whatever hides behind them must not be done."""

import contextlib
import re

import pytest

from tests.hostile.requests import Target
from tests.hostile.test_connections import connected, received

HEAD = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n"
ENDED = b"0\r\n\r\n"
# `HIDDEN` stands where a parser that goes wrong would see a request.
SHAPES: dict[str, bytes] = {
    "a length, then chunks": HEAD + b"Content-Length: 6\r\n" + CHUNKS + b"\r\n" + ENDED + b"HIDDEN",
    "chunks, then a length": HEAD + CHUNKS + b"Content-Length: 4\r\n\r\n" + ENDED + b"HIDDEN",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 400\r\n\r\n{}HIDDEN",
    "two lengths in one": HEAD + b"Content-Length: 2, 400\r\n\r\n{}HIDDEN",
    "a length with a sign": HEAD + b"Content-Length: +2\r\n\r\n{}HIDDEN",
    "a length in hexadecimal": HEAD + b"Content-Length: 0x2\r\n\r\n{}HIDDEN",
    "a length with a blank": HEAD + b"Content-Length: 2 0\r\n\r\n{}HIDDEN",
    "a length with an underscore": HEAD + b"Content-Length: 1_0\r\n\r\n{}HIDDEN",
    "a length of other digits": HEAD + "Content-Length: ٢\r\n\r\n{}HIDDEN".encode(),
    "a blank before the colon": HEAD + b"Content-Length : 2\r\n\r\n{}HIDDEN",
    "chunks, with a blank before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n" + ENDED + b"HIDDEN",
    "chunks, otherwise spelled": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + ENDED + b"HIDDEN",
    "chunks, not last": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + ENDED + b"HIDDEN",
    "chunks twice": HEAD + CHUNKS + b"Transfer-Encoding: identity\r\n\r\n" + ENDED + b"HIDDEN",
    "chunks after a vertical tab": HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n" + ENDED + b"HIDDEN",
    "chunks in quotes": HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n' + ENDED + b"HIDDEN",
    "chunks on a folded line": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + ENDED + b"HIDDEN",
    "a folded header": HEAD + b"A: b\r\n HIDDEN: c\r\nContent-Length: 2\r\n\r\n{}",
    "a carriage return alone": HEAD + b"A: b\rContent-Length: 2\r\n\r\n{}HIDDEN",
    "line feeds alone": HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}HIDDEN",
    "a NUL in a name": HEAD + b"Content-Le\0ngth: 2\r\n\r\n{}HIDDEN",
    "a chunk larger than any number": HEAD + CHUNKS + b"\r\n10000000000000002\r\n{}\r\n" + ENDED + b"HIDDEN",
    "a chunk with a sign": HEAD + CHUNKS + b"\r\n+2\r\n{}\r\n" + ENDED + b"HIDDEN",
    "a chunk in 0x": HEAD + CHUNKS + b"\r\n0x2\r\n{}\r\n" + ENDED + b"HIDDEN",
    "a chunk with an underscore": HEAD + CHUNKS + b"\r\n0_2\r\n{}\r\n" + ENDED + b"HIDDEN",
    "a chunk without its end": HEAD + CHUNKS + b"\r\n2\r\n{}XX" + ENDED + b"HIDDEN",
    "a chunk ended by a line feed": HEAD + CHUNKS + b"\r\n2\n{}\n0\n\nHIDDEN",
    "an extension with a line feed": HEAD + CHUNKS + b"\r\n2;a\nb\r\n{}\r\n" + ENDED + b"HIDDEN",
    "a last chunk that is none": HEAD + CHUNKS + b"\r\n2\r\n{}\r\n00x\r\n\r\nHIDDEN",
    "a body that a GET announces twice": GET + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\nHIDDEN",
    "a version of its own": GET.replace(b"1.1", b"1.1x") + b"\r\nHIDDEN",
    "HTTP/0.9": b"GET /livez\r\nHIDDEN",
    "a path with a line feed": GET.replace(b"/livez", b"/livez\nHIDDEN") + b"\r\n",
    "a tunnel": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\nHIDDEN",
    "a name with a line end": GET + b"A\r\n: b\r\n\r\nHIDDEN",
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_hides_behind_an_ambiguous_request_is_not_done(target: Target, name: str) -> None:
    hidden = f"DELETE /v1/classifiers/{target.classifier_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with connected(target) as connection:
        connection.settimeout(5)
        with contextlib.suppress(ConnectionError):
            connection.sendall(SHAPES[name].replace(b"HIDDEN", hidden))
        answer = received(connection)  # the service hangs up: where the next request begins is not known
    statuses = re.findall(rb"HTTP/1\.1 (\d+)", answer)
    assert len(statuses) <= 1, answer
    assert all(400 <= int(status) < 500 for status in statuses), answer
    assert answer == b"" or b"application/problem+json" in answer
    target.assert_unharmed()
