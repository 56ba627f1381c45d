"""What comes over a socket and is no request, or only half of one, or one that takes its time."""

import contextlib
import json
import re
import socket
import struct
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.hostile.requests import BAD, BOUNDARY, GOOD, Target, assert_refused, file_parts, part
from tests.service.running import examples

HOST = b"Host: localhost\r\n"
CREATE_BODY = json.dumps({"examples": examples(GOOD)}).encode()
UPLOAD_BODY = b"".join([*file_parts("files", [data for _, data in GOOD]), part("labels", b"3,3,4,4,8,8")])
UPLOAD_BODY += f"--{BOUNDARY}--\r\n".encode()


def create_head(length: int) -> bytes:
    head = b"POST /v1/classifiers HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % length


def upload_head(length: int) -> bytes:
    head = b"POST /v1/classifiers/upload HTTP/1.1\r\n" + HOST
    head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n".encode()
    return head + b"Content-Length: %d\r\n\r\n" % length


CHUNKED = b"POST /v1/classifiers HTTP/1.1\r\n" + HOST
CHUNKED += b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.contextmanager
def connected(target: Target) -> Iterator[socket.socket]:
    url = httpx.URL(target.service.url)
    with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
        yield connection


def received(connection: socket.socket) -> bytes:
    """Everything until the service hangs up."""
    answer = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            answer += data
    return bytes(answer)


def parsed(answer: bytes) -> httpx.Response:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return httpx.Response(int(status.split()[1]), headers=[line.split(": ", 1) for line in lines], content=body)


GET, POST = b"GET /livez HTTP/1.1\r\n" + HOST, b"POST /v1/classify HTTP/1.1\r\n" + HOST
NO_HTTP = {
    "text": b"hello\r\n\r\n",
    "an SSH client": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a TLS client": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "NULs": bytes(1000),
    "a version of HTTP that is none": b"GET /livez HTTP/9.9\r\n" + HOST + b"\r\n",
    "a method that is none": b"BREW /v1/classifiers HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path beyond ASCII": b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address that is none": b"GET http://[::1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a header without a colon": GET + b"nothing\r\n\r\n",
    "a header with a blank in its name": GET + b"a b: c\r\n\r\n",
    "a header with a NUL": GET + b"a: b\0c\r\n\r\n",
    "a negative length": POST + b"Content-Length: -5\r\n\r\n",
    "a length of letters": POST + b"Content-Length: all\r\n\r\n",
    "a length of 5000 digits": b"POST /v1/classify HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: "
    + b"9" * 5000
    + b"\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "a length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a chunk of no size": CHUNKED + b"size\r\n{}\r\n0\r\n\r\n",
    "a chunk of a negative size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer than it says": CHUNKED + b"2\r\n{}{}\r\n0\r\n\r\n",
    "headers of 3 MB": GET + b"a: b\r\n" * (1 << 19),
    "a header of 3 MB": GET + b"a: " + b"b" * (3 << 20),
    "a path of 3 MB": b"GET /" + b"p" * (3 << 20),
    "trailers of 3 MB": CHUNKED + b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * (1 << 19),
}


@pytest.mark.parametrize("name", NO_HTTP)
def test_what_is_no_http_is_refused_and_hung_up_on(target: Target, name: str) -> None:
    before = target.stored()
    with connected(target) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(NO_HTTP[name])
        answer = received(connection)
    if answer:  # who goes on sending megabytes may find the connection gone before the answer is read
        assert_refused(parsed(answer), BAD, ["Expected HTTP/1.1"], target.service)
    assert answer or "3 MB" in name
    target.assert_unharmed()
    assert target.stored() == before


HALVES = {
    "nothing": b"",
    "half a method": b"PO",
    "half a line": b"POST /v1/classif",
    "half the headers": b"POST /v1/classifiers HTTP/1.1\r\n" + HOST + b"Content-Ty",
    "no body": create_head(len(CREATE_BODY)),
    "half a body": create_head(len(CREATE_BODY)) + CREATE_BODY[: len(CREATE_BODY) // 2],
    "a body but for its last byte": create_head(len(CREATE_BODY)) + CREATE_BODY[:-1],
    "half a form": upload_head(len(UPLOAD_BODY)) + UPLOAD_BODY[: len(UPLOAD_BODY) // 2],
    "a form but for its last byte": upload_head(len(UPLOAD_BODY) + 1) + UPLOAD_BODY,
    "half a chunk": CHUNKED + b"%x\r\n" % len(CREATE_BODY) + CREATE_BODY[:100],
    "no last chunk": CHUNKED + b"%x\r\n" % len(CREATE_BODY) + CREATE_BODY + b"\r\n",
}


@pytest.mark.parametrize("abort", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("name", HALVES)
def test_of_a_request_whose_client_hangs_up_nothing_is_stored(target: Target, name: str, abort: bool) -> None:
    before = target.stored()
    with connected(target) as connection:
        connection.sendall(HALVES[name])
        time.sleep(0.02)
        if abort:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    target.assert_unharmed()
    time.sleep(0.05)
    assert target.stored() == before


def test_half_sent_requests_keep_nobody_else_waiting(target: Target) -> None:
    before = target.stored()
    with contextlib.ExitStack() as open_connections:
        for half in [*HALVES.values()] * 20:
            open_connections.enter_context(connected(target)).sendall(half)
        for _ in range(5):
            target.assert_unharmed()
        with target.service.client() as another:
            assert another.get("/readyz").status_code == 200
    target.assert_unharmed()
    assert target.stored() == before


@pytest.mark.parametrize("hosts", [b"", HOST * 2, HOST + b"Host: 127.0.0.1\r\n"])
def test_a_request_names_its_host_once(target: Target, hosts: bytes) -> None:
    with connected(target) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\n" + hosts + b"\r\n")
        assert_refused(parsed(received(connection)), BAD, ["Host headers came; expected one"], target.service)


@pytest.mark.parametrize("step", [1, 100])
def test_a_slow_client_is_answered(target: Target, step: int) -> None:
    request = b"GET /v1/models HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    if step > 1:
        request = upload_head(len(UPLOAD_BODY)).replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + UPLOAD_BODY
    with connected(target) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(request), step):
            connection.sendall(request[start : start + step])
            time.sleep(0.002)
        answer = parsed(received(connection))
    assert answer.status_code == (200 if step == 1 else 201)
    if step > 1:
        assert target.client.delete(answer.headers["location"]).status_code == 204


def test_requests_sent_in_one_go_are_answered_in_order(target: Target) -> None:
    requests = [b"GET /v1/models/nothing HTTP/1.1\r\n" + HOST + b"\r\n", create_head(2) + b"{}"]
    requests.append(GET + b"Connection: close\r\n\r\n")
    with connected(target) as connection:
        connection.sendall(b"".join(requests))
        answer = received(connection)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"404", b"422", b"200"]


def test_a_web_socket_is_not_opened(target: Target) -> None:
    request = b"GET /v1/classifiers HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    request += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with connected(target) as connection:
        connection.sendall(request)
        assert parsed(received(connection)).status_code == 403
    target.assert_unharmed()


def test_headers_without_end_take_no_memory(target: Target) -> None:
    process = psutil.Process(target.service.process.pid)
    before = process.memory_info().rss
    for line in (b"a: b\r\n" * 100_000, b"b" * 600_000):
        with connected(target) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(GET + b"a: ")
            for _ in range(100):
                connection.sendall(line)
        assert process.memory_info().rss - before < 30 << 20
    target.assert_unharmed()
