"""A load generator in a process of its own: requests prepared as bytes, so that sending costs next to nothing.

Reads a plan as JSON from standard input, writes what it saw as JSON to standard output.
"""

import asyncio
import base64
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

_MOST_OPEN = 1500
"""Requests in flight; what is due past them is counted as not sent, never silently delayed."""


@dataclass
class Seen:
    """What became of the requests.

    Attributes:
        good_seconds: of each that was answered 200, from when it was due.
        shed: those answered 503 or 429 with a Retry-After.
        wrong: everything else, by what it was.
        not_sent: due while too many were open.
        seconds: that the whole took.
        cpu_seconds: of this process.
    """

    good_seconds: list[float] = field(default_factory=list)
    shed: int = 0
    wrong: dict[str, int] = field(default_factory=dict)
    not_sent: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Connections:
    """Kept alive, as many as are needed."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> tuple[int, bool]:
        """Status, and whether it said when to come again; an answer may come before the request is all sent."""
        kept = bool(self._idle)
        reader, writer = self._idle.pop() if kept else await asyncio.open_connection(self._host, self._port)
        sending = asyncio.create_task(_send(writer, request))
        try:
            status, headers = await _head(reader)
            await reader.readexactly(int(headers.get("content-length", 0)))
        except (asyncio.IncompleteReadError, ConnectionError, IndexError):
            sending.cancel()
            writer.close()
            if kept:  # closed by the server while it was idle
                return await self.ask(request)
            return 0, False
        if sending.done() and headers.get("connection", "").lower() != "close":
            self._idle.append((reader, writer))
        else:
            sending.cancel()
            writer.close()
        return status, "retry-after" in headers


async def _send(writer: asyncio.StreamWriter, request: bytes) -> None:
    try:
        writer.write(request)
        await writer.drain()
    except ConnectionError:  # refused before all was sent
        pass


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines[1:] if ":" in line)
    return int(lines[0].split(" ")[1]), {name.lower(): value.strip() for name, value in pairs}


async def run(plan: dict[str, Any]) -> Seen:
    """Closed loop with `clients`, or open loop at `rate` a second, for `seconds`."""
    seen, connections = Seen(), Connections(plan["host"], plan["port"])
    requests = [base64.b64decode(each) for each in plan["requests"]]
    began, number = time.monotonic(), 0
    until = began + plan["seconds"]

    async def one(due: float, request: bytes) -> None:
        try:
            status, told_when = await asyncio.wait_for(connections.ask(request), 60)
        except (TimeoutError, OSError) as error:
            status, told_when = 0, False
            seen.wrong[type(error).__name__] = seen.wrong.get(type(error).__name__, 0) + 1
            return
        if status == 200:
            seen.good_seconds.append(time.monotonic() - due)
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
    json.dump(asdict(asyncio.run(run(json.load(sys.stdin)))), sys.stdout)
