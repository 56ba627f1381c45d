"""How the process ends when it is asked to: what is in flight is finished, within a bound, and nothing new begun."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Draining
from service.problems import error_response, path_of

_ALWAYS = frozenset(("/livez", "/readyz", "/metrics", "/version"))


class Drain:
    """Whether the process is ending, and whether it may end now.

    Args:
        notice_seconds: during which requests are still taken, so that a balancer which reads `/readyz` sends none any
            more when they are not.
        max_seconds: that the ending may take, notice and all.

    Attributes:
        in_flight: requests.
        failed: whether the process ends because it can go on no longer; whoever started it should start it again.
    """

    def __init__(self, *, notice_seconds: float, max_seconds: float) -> None:
        self._notice_seconds, self._max_seconds = notice_seconds, max_seconds
        self._began: float | None = None
        self._told: dict[Callable[[Draining], None], None] = {}
        self.in_flight = 0
        self.failed = False

    @property
    def began(self) -> bool:
        """Whether the process was asked to end: `/readyz` says so."""
        return self._began is not None and not self.failed

    @property
    def refuses(self) -> bool:
        """Whether new requests are refused."""
        return self.began and time.monotonic() - (self._began or 0.0) >= self._notice_seconds

    def begin(self) -> None:
        """Begin to end."""
        if self._began is None:
            self._began = time.monotonic()

    def fail(self) -> None:
        """End once those in flight have been told why; those that still come are told the same."""
        self.begin()
        self.failed = True

    def done(self) -> bool:
        """Whether the process may end: nothing is in flight, or time is up, in which case what is left fails."""
        if self._began is None:
            return False
        if time.monotonic() - self._began >= self._max_seconds:
            for tell in list(self._told):
                tell(_unfinished())
            return True
        return (self.failed or self.refuses) and self.in_flight == 0

    @contextmanager
    def ends(self, tell: Callable[[Draining], None]) -> Iterator[None]:
        """While a request is worked on: `tell` is called with its error if time is up before it is finished."""
        self._told[tell] = None
        try:
            yield
        finally:
            del self._told[tell]


def _unfinished() -> Draining:
    return Draining("the service is shutting down and could not finish this request; ask again", retry_after_seconds=2)


class InFlight:
    """Counts what is in flight, and refuses what comes once the process ends."""

    def __init__(self, app: ASGIApp, *, drain: Drain) -> None:
        self.app = app
        self.drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or path_of(scope) in _ALWAYS:
            await self.app(scope, receive, send)
            return
        if self.drain.refuses:
            error = Draining("the service is shutting down; ask again", retry_after_seconds=2)
            await error_response(Request(scope), error)(scope, receive, send)
            return
        self.drain.in_flight += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.drain.in_flight -= 1


class DrainingServer(uvicorn.Server):
    """Goes on listening after SIGTERM until nothing is in flight: uvicorn's own would refuse even `/livez` at once.

    Args:
        config: uvicorn's.
        drain: the app's.
    """

    def __init__(self, config: uvicorn.Config, *, drain: Drain) -> None:
        super().__init__(config)
        self._drain = drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM begins to drain; a second one, or an interrupt, ends at once."""
        if sig == signal.SIGTERM and not self._drain.began:
            self._drain.begin()
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._drain.done():
            self.should_exit = True
        return await super().on_tick(counter)
