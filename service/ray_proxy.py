"""What stands before Ray Serve's proxy, in its process: ids for requests, problem documents where it has none.

Nothing is imported here that brings torch, which would take half a gigabyte on every machine.
"""

import logging
import random

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import KINDS, NotReady, ReplicaLost, ServiceError
from service.request_ids import request_id

_ERROR = 400
_UNTOUCHED = (404, 503)
"""Of Ray's own: it has no such route, as before the first replica runs and after the last, or nobody to ask."""

logger = logging.getLogger(__name__)


def middleware() -> list[Middleware]:
    """Asked for by Ray, by `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`."""
    return [Middleware(Front)]


class Front:
    """Gives a request the id that the service would give it, and tells of a replica that died as of any error.

    Ray sends a request again where a replica dies, or ends, before it said that it took it, and it may have done it by
    then. A creation gets an `Idempotency-Key` for that, unless it has its client's own: done twice it creates once.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._random = random.Random()  # noqa: S311 - no secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        given = headers["x-request-id"] = request_id(headers.get("x-request-id", ""), self._random)
        if scope["method"] == "POST":
            headers.setdefault("idempotency-key", f"ray-{self._random.getrandbits(128):032x}")
        answer = _Answer(send)
        try:
            await self.app(scope, receive, answer)
        except Exception:
            if answer.started:
                raise  # what came of it is cut off, which its client sees
            logger.warning("a replica was lost under request %s", given, exc_info=True)
        if not answer.started:  # Ray said an error of its own, or nothing
            refuse = _not_ready if answer.refused in _UNTOUCHED else _lost
            await refuse(given)(scope, receive, send)


class _Answer:
    """What Ray's proxy sends, as long as it is the service's answer: its errors are problem documents."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started, self.refused = False, 0

    async def __call__(self, message: Message) -> None:
        """ASGI's `send`."""
        if message["type"] == "http.response.start":
            kind = Headers(raw=message["headers"]).get("content-type", "")
            if message["status"] >= _ERROR and kind != "application/problem+json":
                self.refused = message["status"]
            else:
                self.started = True
        if self.started:
            await self._send(message)


def _lost(given: str) -> JSONResponse:
    return _problem(
        ReplicaLost,
        "the replica that had this request is gone, and whether it was done is not known; look, or send it again, a "
        "creation with the Idempotency-Key that it had",
        given,
    )


def _not_ready(given: str) -> JSONResponse:
    return _problem(NotReady, "no replica runs, so nothing was done; send it again", given, retry_after="1")


def _problem(error: type[ServiceError], detail: str, given: str, **headers: str) -> JSONResponse:
    kind = KINDS[error]
    document = {
        "type": f"urn:kshot:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": kind.code,
        "errors": [],
        "request_id": given,
    }
    more = {"X-Request-ID": given} | {name.replace("_", "-").title(): value for name, value in headers.items()}
    return JSONResponse(document, kind.status, headers=more, media_type="application/problem+json")
