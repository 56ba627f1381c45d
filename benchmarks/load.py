"""A load generator in a process of its own: requests prepared as bytes, so that sending costs next to nothing.

Reads a plan as JSON from standard input, writes what it saw as JSON to standard output.
"""

import asyncio
import base64
import json
import re
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop

_LENGTH = re.compile(rb"content-length: *([0-9]+)")

_MOST_OPEN = 1500
"""Requests in flight; what is due past them is counted as not sent, never silently delayed."""


@dataclass
class Seen:
    """What became of the requests.

    Attributes:
        good_seconds: of each that was answered 200, from when it was due.
        good_due: when it was, in seconds of this machine's monotonic clock.
        shed: those answered 503 or 429 with a Retry-After.
        wrong: everything else, by what it was.
        not_sent: due while too many were open.
        seconds: that the whole took.
        cpu_seconds: of this process.
    """

    good_seconds: list[float] = field(default_factory=list)
    good_due: list[float] = field(default_factory=list)
    shed: int = 0
    wrong: dict[str, int] = field(default_factory=dict)
    not_sent: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Connection(asyncio.Protocol):
    """One that is kept alive; an answer may come before the request is all sent."""

    transport: asyncio.Transport

    def __init__(self, pool: "Connections") -> None:
        self._pool, self._seen = pool, b""
        self._answer: asyncio.Future[tuple[int, bool] | None] | None = None
        self.reusable = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        self.transport = transport

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bool] | None]":
        """Status, and whether it said when to come again; None if the connection ended instead."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._seen += data
        head, gap, body = self._seen.partition(b"\r\n\r\n")
        head = head.lower()
        found = _LENGTH.search(head) if gap else None
        if found is None or len(body) < int(found[1]):
            return
        self._seen = b""
        self.reusable = b"connection: close" not in head and not self.transport.get_write_buffer_size()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((int(head[9:12]), b"\r\nretry-after:" in head))

    def connection_lost(self, _: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._pool.lost(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)


class Connections:
    """As many as are needed."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._idle: list[Connection] = []

    async def ask(self, request: bytes) -> tuple[int, bool]:
        """See `Connection`; 0 if it ended without an answer."""
        kept = bool(self._idle)
        connection = self._idle.pop() if kept else await self._open()
        answer = await connection.ask(request)
        if answer is None:  # one that was idle may just have been closed by the server
            return await self.ask(request) if kept else (0, False)
        if connection.reusable and not connection.transport.is_closing():
            self._idle.append(connection)
        else:
            connection.transport.abort()
        return answer

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self), self._host, self._port)
        return connection

    def lost(self, connection: Connection) -> None:
        """It is no more."""
        if connection in self._idle:
            self._idle.remove(connection)


async def run(plan: dict[str, Any]) -> Seen:
    """Closed loop with `clients`, or open loop at `rate` a second, for `seconds`."""
    seen, connections = Seen(), Connections(plan["host"], plan["port"])
    requests = [base64.b64decode(each) for each in plan["requests"]]
    began, number = time.monotonic(), 0
    until = began + plan["seconds"]

    async def one(due: float, request: bytes) -> None:
        try:
            async with asyncio.timeout(60):
                status, told_when = await connections.ask(request)
        except OSError as error:  # TimeoutError is one
            seen.wrong[type(error).__name__] = seen.wrong.get(type(error).__name__, 0) + 1
            return
        if status == 200:
            seen.good_seconds.append(time.monotonic() - due)
            seen.good_due.append(due)
        elif status in (429, 503) and told_when:
            seen.shed += 1
        else:
            seen.wrong[str(status)] = seen.wrong.get(str(status), 0) + 1

    if "clients" in plan:

        async def client(first: int) -> None:
            place = first
            while time.monotonic() < until:
                await one(time.monotonic(), requests[place % len(requests)])
                place += 1

        await asyncio.gather(*(client(first) for first in range(plan["clients"])))
    else:
        open_now: set[asyncio.Task[None]] = set()
        while (due := began + number / plan["rate"]) < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            number += 1
            if len(open_now) >= _MOST_OPEN:
                seen.not_sent += 1
                continue
            task = asyncio.create_task(one(due, requests[number % len(requests)]))
            open_now.add(task)
            task.add_done_callback(open_now.discard)
        await asyncio.gather(*open_now)
    seen.seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    seen.cpu_seconds = used.ru_utime + used.ru_stime
    return seen


if __name__ == "__main__":
    json.dump(asdict(uvloop.run(run(json.load(sys.stdin)))), sys.stdout)
