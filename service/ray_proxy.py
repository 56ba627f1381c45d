"""What stands before Ray Serve's proxy, in its process: ids for requests, problem documents where it has none.

Nothing is imported here that brings torch, which would take half a gigabyte on every machine.
"""

import random

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import KINDS, ReplicaLost
from service.request_ids import request_id

_SERVER_ERROR = 500


def middleware() -> list[Middleware]:
    """Asked for by Ray, by `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`."""
    return [Middleware(Front)]


class Front:
    """Gives a request the id that the service would give it, and tells of a replica that died as of any error."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._random = random.Random()  # noqa: S311 - no secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, lost = MutableHeaders(scope=scope), False
        given = headers["x-request-id"] = request_id(headers.get("x-request-id", ""), self._random)

        async def told(message: Message) -> None:
            nonlocal lost
            if message["type"] == "http.response.start" and _is_rays_own(message):
                lost = True
                await _lost(given)(scope, receive, send)
            elif not lost:
                await send(message)

        await self.app(scope, receive, told)


def _is_rays_own(start: Message) -> bool:
    """Whether it tells of an error that the service did not: its own are problem documents."""
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] >= _SERVER_ERROR and kind != "application/problem+json"


def _lost(given: str) -> JSONResponse:
    kind = KINDS[ReplicaLost]
    document = {
        "type": f"urn:kshot:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": "the replica that had this request is gone, and whether it was done is not known; look, or send it "
        "again, a creation with the Idempotency-Key that it had",
        "code": kind.code,
        "errors": [],
        "request_id": given,
    }
    headers = {"X-Request-ID": given}
    return JSONResponse(document, kind.status, headers=headers, media_type="application/problem+json")
