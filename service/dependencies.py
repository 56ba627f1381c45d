"""What routes are given: the app's services, and a client that is still there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Request

from service.admission import Knock
from service.callers import Caller
from service.catalog import Catalog
from service.decoding import Decoder
from service.drain import Drain
from service.engine import Engine
from service.errors import ClientLeft, DeviceLost, Draining, NotReady, ServiceError
from service.keys import Keys
from service.metrics import Metrics
from service.patience import Patience
from service.reporting import Reporter
from service.settings import Settings
from service.store import Store
from service.turns import Line, Turns

Result = TypeVar("Result")

_LOOK_SECONDS = 0.05
"""Until somebody looks whether the client is still there."""


@dataclass(frozen=True)
class Services:
    """What the app is made of, one of each."""

    settings: Settings
    catalog: Catalog
    decoder: Decoder
    engine: Engine
    reporter: Reporter
    store: Store
    keys: Keys
    turns: Turns
    exports: Line
    metrics: Metrics
    drain: Drain

    def not_ready(self) -> ServiceError | None:
        """Why requests cannot be answered, or soon will not be; None when they can."""
        if self.drain.began:
            return Draining("the service is shutting down; send requests to another", retry_after_seconds=5)
        if self.engine.lost:
            return DeviceLost(f"the device is lost: {self.engine.lost}", retry_after_seconds=10)
        if reasons := self.catalog.reasons():
            return NotReady(f"not ready: {'; '.join(reasons)}", retry_after_seconds=2)
        return None


async def _services(request: Request) -> Services:  # not `def`: FastAPI calls such in another thread
    return cast(Services, request.state.services)


ServicesDep = Annotated[Services, Depends(_services)]


async def caller_of(request: Request) -> Caller:
    """Who sent the request; asked by routes, and before them by what answers a request without its route."""
    return cast(Caller, request.state.caller)


CallerDep = Annotated[Caller, Depends(caller_of)]


async def attended(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` returns, unless the client hangs up first, or its time passes: then the work is dropped.

    Raises:
        ClientLeft: nobody reads the answer.
        DeadlineExceeded: it took too long, for the service or for the client.
        Draining: the process ends, and has waited long enough.
    """
    patience, loop = cast(Patience, request.state.patience), asyncio.get_running_loop()
    seconds, too_late = patience.left()
    timer, reasons = asyncio.timeout(max(0, seconds)), list[ServiceError]()

    def drop(reason: ServiceError) -> None:
        if not timer.expired():
            reasons.append(reason)
            timer.reschedule(loop.time())

    try:
        async with timer:
            with patience.drain.ends(drop), _client_watched(request, drop):
                return await work
    except TimeoutError:
        if timer.expired():
            raise (reasons or [too_late])[0] from None
        raise


@contextmanager
def _client_watched(request: Request, left: Callable[[ClientLeft], None]) -> Iterator[None]:
    """Call `left` if the client hangs up; most requests are answered before anybody looks."""
    watching: asyncio.Task[None] | None = None

    async def watch() -> None:
        # The body is read by now, so the one message that is still to come is the disconnection.
        while (await request.receive())["type"] != "http.disconnect":
            pass
        left(ClientLeft("the client hung up before it was answered"))

    def look() -> None:
        nonlocal watching
        watching = asyncio.ensure_future(watch())

    begin = asyncio.get_running_loop().call_later(_LOOK_SECONDS, look)
    try:
        yield
    finally:
        begin.cancel()
        if watching is not None:
            watching.cancel()


@asynccontextmanager
async def in_time(request: Request) -> AsyncIterator[asyncio.Timeout]:
    """As long as `attended` gives a request: for waiting that has nothing to drop.

    Raises:
        DeadlineExceeded: it took too long, for the service or for the client.
    """
    seconds, too_late = cast(Patience, request.state.patience).left()
    try:
        async with asyncio.timeout(max(0, seconds)) as timer:
            yield timer
    except TimeoutError as error:
        raise too_late from error


def knock_of(request: Request) -> Knock | None:
    """How a request came, where the door counts such requests."""
    knock: Knock | None = getattr(request.state, "knock", None)
    return knock
