"""Requests read strictly, and work that ends when its client leaves."""

import asyncio
import math

import pytest
from fastapi import Request
from starlette.types import Message

from service.dependencies import attended
from service.drain import Drain
from service.errors import ClientLeft, DeadlineExceeded, Draining
from service.patience import Patience


def request_of(messages: "asyncio.Queue[Message]", *, seconds: float = 60, drain: Drain | None = None) -> Request:
    patience = Patience(seconds=seconds, until=math.inf, drain=drain or Drain(notice_seconds=0, max_seconds=0))
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "state": {"patience": patience}}
    return Request(scope, messages.get)


def test_work_is_dropped_when_the_client_hangs_up() -> None:
    async def run() -> None:
        messages: asyncio.Queue[Message] = asyncio.Queue()
        began, dropped = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            began.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                dropped.set()
                raise

        async def hang_up() -> None:
            await began.wait()
            await messages.put({"type": "http.disconnect"})

        leaving = asyncio.ensure_future(hang_up())
        with pytest.raises(ClientLeft):
            await attended(request_of(messages), work())
        await leaving
        async with asyncio.timeout(5):
            await dropped.wait()

    asyncio.run(run())


def test_work_is_done_while_the_client_stays() -> None:
    async def run() -> None:
        async def work() -> str:
            await asyncio.sleep(0.01)
            return "done"

        assert await attended(request_of(asyncio.Queue()), work()) == "done"

    asyncio.run(run())


def test_an_error_of_the_work_is_the_error_of_the_request() -> None:
    async def run() -> None:
        async def work() -> None:
            raise ValueError("its own")

        with pytest.raises(ValueError, match="its own"):
            await attended(request_of(asyncio.Queue()), work())

    asyncio.run(run())


def test_work_is_dropped_when_its_time_has_passed() -> None:
    async def run() -> None:
        work = asyncio.sleep(60)
        with pytest.raises(DeadlineExceeded, match=r"over 0\.05 s"):
            await attended(request_of(asyncio.Queue(), seconds=0.05), work)

    asyncio.run(run())


def test_work_is_dropped_when_the_process_has_waited_long_enough() -> None:
    async def run() -> None:
        drain = Drain(notice_seconds=0, max_seconds=0)
        drain.in_flight = 1
        assert not drain.done()
        drain.begin()
        asyncio.get_running_loop().call_later(0.01, drain.done)  # as the server's tick does
        with pytest.raises(Draining):
            await attended(request_of(asyncio.Queue(), drain=drain), asyncio.sleep(60))
        assert drain.done()

    asyncio.run(run())
