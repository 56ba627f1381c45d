"""How long a request may take: the service's limit, and the client's own in `X-Request-Timeout`."""

import asyncio
import math
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.drain import Drain
from service.errors import BodyTooSlow, DeadlineExceeded, InvalidRequest
from service.problems import error_response
from service.settings import Limits

HEADER = "X-Request-Timeout"


@dataclass(frozen=True)
class Patience:
    """What a request is given.

    Attributes:
        seconds: of work, once its body has come.
        until: what the client gave, in the event loop's time; infinite where it gave none.
        drain: may end its work early.
    """

    seconds: float
    until: float
    drain: Drain

    def left(self) -> tuple[float, DeadlineExceeded]:
        """Seconds from now on, and what is to be said when they have passed."""
        left = self.until - asyncio.get_running_loop().time()
        why = f"what its {HEADER} allows and was dropped; allow more, or send fewer pictures"
        if self.seconds <= left:
            left, why = self.seconds, f"{self.seconds:g} s and was dropped; send fewer pictures, or ask later"
        return left, DeadlineExceeded(f"the request took over {why}", retry_after_seconds=5)


class Patient:
    """Gives every request its patience, and waits no longer than that for a body.

    Args:
        app: that answers.
        limits: of the service.
        drain: of the process.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits, drain: Drain) -> None:
        self.app = app
        self._limits, self._drain = limits, drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        now = asyncio.get_running_loop().time()
        try:
            given = _given_seconds(Headers(scope=scope).get(HEADER))
        except InvalidRequest as error:
            await error_response(Request(scope), error)(scope, receive, send)
            return
        scope["state"]["patience"] = Patience(self._limits.request_seconds, now + given, self._drain)
        until, here = now + min(given, self._limits.body_seconds), False

        async def receive_in_time() -> Message:
            nonlocal here
            if here:  # what is still to come is the client's leaving
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                raise _late(given, self._limits.body_seconds) from error
            here = not message.get("more_body", False)
            return message

        await self.app(scope, receive_in_time, send)


def _given_seconds(text: str | None) -> float:
    if text is None:
        return math.inf
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise InvalidRequest(f"{HEADER} is {text[:40]!r}; expected the seconds that you would wait, for example 2.5")
    return seconds


def _late(given: float, limit: float) -> Exception:
    if given < limit:
        return DeadlineExceeded(
            f"the request's body took longer than its {HEADER} of {given:g} s; allow more, or send less",
            retry_after_seconds=1,
        )
    return BodyTooSlow(f"the body had not come after {limit:g} s; send less, or over a faster connection")
