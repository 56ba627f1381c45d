"""`Server-Timing`: where a request's time went, in every answer."""

import time

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.scheduler import Timings


class ServerTiming:
    """Writes the header: what `note` was told, and the total until the answer begins, all in milliseconds."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, stages = time.perf_counter(), dict[str, float]()
        scope.setdefault("state", {})["stages"] = stages

        async def send_timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                spent = stages | {"total": time.perf_counter() - began}
                told = ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in spent.items())
                MutableHeaders(scope=message)["Server-Timing"] = told
            await send(message)

        await self.app(scope, receive, send_timed)


def note(request: Request, timings: Timings, *, decode_seconds: float | None = None) -> None:
    """Have a job's timings told with the answer."""
    stages: dict[str, float] = request.state.stages
    if decode_seconds is not None:
        stages["decode"] = decode_seconds
    stages.update(timings._asdict())
