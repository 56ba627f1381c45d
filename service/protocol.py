"""uvicorn's HTTP protocol with what it lacks: a bound on headers, and a problem document for what is not HTTP."""

import secrets

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.problems import BAD_REQUEST, problem_document

MAX_HEAD_BYTES = 2**20
"""Of a request line with all headers; also of what may stand around the chunks of a body."""


class BoundedHttp(HttpToolsProtocol):
    """A connection that keeps no more than a megabyte of anything but bodies, which have a limit of their own."""

    _bytes_beside_bodies = 0

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
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """A piece of a body came."""
        self._bytes_beside_bodies = 0
        super().on_body(body)

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
