"""What happens to every request before routing: an id, a limit on its body, a line in the log and in the metrics.

Plain ASGI: bodies stream through.
"""

import logging
import random
import time

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Kind
from service.metrics import Metrics
from service.problems import problem_response, route_of
from service.request_ids import request_id

logger = logging.getLogger(__name__)

_PROBES = ("/livez", "/readyz", "/metrics")
_TOO_LARGE = Kind(413, "too_large", "The request is over a limit")


class RequestId:
    """`X-Request-ID` echoed, or made where none or an unprintable one came; `request.state.request_id` within."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # No secret: asking the system for each would cost a refusal a quarter of its time.
        self._random = random.Random()  # noqa: S311

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = request_id(Headers(scope=scope).get("x-request-id", ""), self._random)
        scope.setdefault("state", {})["request_id"] = given

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = given
            await send(message)

        await self.app(scope, receive, send_with_id)


class Watch:
    """Counts every answer, and logs it: the route as it is declared, never what the client wrote in it."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def send_watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with self.metrics.in_flight.track_inprogress():
                await self.app(scope, receive, send_watched)
        finally:
            # What nobody foresaw is answered by the framework's outermost layer, past this one.
            self._tell(scope, status or 500, time.perf_counter() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = route_of(scope), scope["method"]
        self.metrics.answered(route=route, method=method, status=status, seconds=seconds)
        fields = {
            "request_id": scope["state"]["request_id"],
            "method": method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
        }
        if code := scope["state"].get("problem_code"):
            fields["code"] = code
            if status in (429, 503):
                self.metrics.shed(code)
        level = logging.DEBUG if route in _PROBES else logging.INFO
        logger.log(level, "%s %s %s", method, route, status, extra={"fields": fields})


class BodyLimit:
    """A body over the limit is refused at its announcement, or at the byte that passes it, whatever was announced.

    FastAPI's own `max_body_size` does the same but answers in plain text where a route never reads the body.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        detail = f"the body is larger than {self.max_bytes} bytes; send fewer or smaller pictures"
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > self.max_bytes:
            # The rest of the body is not read, so the connection cannot serve another request.
            refusal = problem_response(Request(scope), _TOO_LARGE, detail, headers={"Connection": "close"})
            await refusal(scope, receive, send)
            return
        seen = 0

        async def receive_limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_bytes:
                raise HTTPException(413, detail, headers={"Connection": "close"})
            return message

        await self.app(scope, receive_limited, send)
