"""How much may wait: past it a request is refused at once, before its body is read, and told when to come again."""

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum

from service.errors import Overloaded

_FOLLOW = 0.1
"""Weight of the last request in a lane's running mean."""


class Lane(Enum):
    """Who waits behind whom: classifying goes before creating, so that neither counts what waits in the other."""

    CLASSIFY = "classify"
    CREATE = "create"


@dataclass
class _Traffic:
    pictures: int = 0
    seconds_per_picture: float = 0.0

    @property
    def wait_seconds(self) -> float:
        """How long what is there now will take, going by what was there before."""
        return self.pictures * self.seconds_per_picture


class Admission:
    """Room for the pictures of requests, from before they are decoded until they are answered.

    Args:
        max_pictures: of all requests, whatever they wait for: they are held in memory.
        max_seconds: that a request may expect to wait; where nothing waits, one of any size is taken.
    """

    def __init__(self, *, max_pictures: int, max_seconds: float) -> None:
        self._max_pictures, self._max_seconds = max_pictures, max_seconds
        self._lanes = {lane: _Traffic() for lane in Lane}

    @property
    def pictures(self) -> int:
        """Of all admitted requests."""
        return sum(traffic.pictures for traffic in self._lanes.values())

    def check(self, lane: Lane, pictures: int = 0) -> None:
        """Refuse what finds too much before it.

        Raises:
            Overloaded: says when to ask again.
        """
        traffic, there = self._lanes[lane], self.pictures
        full = there and there + max(1, pictures) > self._max_pictures
        if full or traffic.wait_seconds > self._max_seconds:
            why = (
                f"at most {self._max_pictures} are taken at once"
                if full
                else f"those before yours take about {traffic.wait_seconds:.1f} s, and at most "
                f"{self._max_seconds:g} s of waiting are taken"
            )
            raise Overloaded(
                f"{there} pictures are being worked on{f' and {pictures} more came' if pictures else ''}; {why}",
                retry_after_seconds=max(1, math.ceil(traffic.wait_seconds)),
            )

    @asynccontextmanager
    async def admit(self, lane: Lane, pictures: int) -> AsyncIterator[None]:
        """Hold room for a request's pictures.

        Raises:
            Overloaded: there is none.
        """
        self.check(lane, pictures)
        traffic, began = self._lanes[lane], time.perf_counter()
        traffic.pictures += pictures
        before = traffic.pictures
        try:
            yield
            # A request's whole stay for all that was there when it came: decoding and reporting count as they should.
            seen = (time.perf_counter() - began) / max(1, before)
            traffic.seconds_per_picture += _FOLLOW * (seen - traffic.seconds_per_picture)
        finally:
            traffic.pictures -= pictures
