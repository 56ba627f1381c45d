"""Requests that must go one after another, by what they are about."""

import asyncio
from collections.abc import Hashable
from weakref import WeakValueDictionary

from service.errors import Overloaded


class Line:
    """One after another, and only so many waiting.

    Args:
        most_waiting: more are refused.
    """

    def __init__(self, *, most_waiting: int) -> None:
        self._lock, self._most, self._waiting = asyncio.Lock(), most_waiting, 0

    async def __aenter__(self) -> None:
        """Wait for the turn.

        Raises:
            Overloaded: too many wait already.
        """
        if self._waiting >= self._most:
            raise Overloaded(f"{self._waiting} others wait for the same; ask later", retry_after_seconds=30)
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        """The next one's turn."""
        self._lock.release()


class Turns:
    """A lock for each thing, held in memory only while somebody has it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._locks)

    def of(self, thing: Hashable) -> asyncio.Lock:
        """The thing's lock, the same for all who ask for it at once."""
        lock = self._locks.get(thing)
        if lock is None:
            lock = self._locks[thing] = asyncio.Lock()
        return lock
