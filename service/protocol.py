"""uvicorn's HTTP protocol with what it lacks: bounds on headers, and a problem document for what is not HTTP."""

import asyncio
import secrets

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.problems import BAD_REQUEST, problem_document

MAX_HEAD_BYTES = 2**20
"""Of a request line with all headers; also of what may stand around the chunks of a body."""


HEAD_SECONDS = 30.0
"""From a connection's first moment, or a request's first byte, to the end of its headers."""


class BoundedHttp(HttpToolsProtocol):
    """A connection that keeps no more than a megabyte of anything but bodies, and waits no longer than that for heads.

    Bodies have limits of their own.
    """

    _bytes_beside_bodies = 0
    _until_head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connected."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._bytes_beside_bodies += len(data)
        if self._bytes_beside_bodies > MAX_HEAD_BYTES:
            self.send_400_response(f"The headers are larger than {MAX_HEAD_BYTES} bytes.")
        else:
            super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._bytes_beside_bodies = 0
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers are there."""
        self._head_came()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body came."""
        self._bytes_beside_bodies = 0
        super().on_body(body)

    def _await_head(self) -> None:
        self._head_came()
        self._until_head = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_came(self) -> None:
        if self._until_head is not None:
            self._until_head.cancel()
            self._until_head = None

    def send_400_response(self, msg: str) -> None:
        """Answer and hang up: where the next request would begin is not known."""
        request_id = secrets.token_hex(16)
        detail = f"{msg} Expected HTTP/1.1, a request line and headers, as RFC 9112 has it"
        document = problem_document(BAD_REQUEST, detail, request_id=request_id).model_dump_json().encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nconnection: close\r\n"
            f"x-request-id: {request_id}\r\ncontent-length: {len(document)}\r\n\r\n"
        )
        self.transport.write(head.encode() + document)
        self.transport.close()
