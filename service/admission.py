"""How much may wait: past it a request is refused at once, before its body is read, and told when to come again."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum

from service.errors import Overloaded

_FOLLOW = 0.1
"""Weight of the last request in a lane's running mean."""

_KNOCK_SECONDS = 1.0


class Lane(Enum):
    """Who waits behind whom: classifying goes before creating, so that neither counts what waits in the other."""

    CLASSIFY = "classify"
    CREATE = "create"


@dataclass
class _Traffic:
    pictures: int = 0
    knocking: int = 0
    seconds_per_picture: float = 0.0

    @property
    def there(self) -> int:
        """What stands before who comes now: pictures, and requests of which nothing else is known yet."""
        return self.pictures + self.knocking

    @property
    def wait_seconds(self) -> float:
        """How long what is there now will take, going by what was there before."""
        return self.there * self.seconds_per_picture


class Knock:
    """A request that is counted from its first byte to its answer, but for a body that comes slowly.

    Whoever sends slowly keeps nobody out for longer than a second.

    Attributes:
        began: when it came, or its body was all there; seconds of `time.perf_counter`.
        before: what stood before it then.
    """

    def __init__(self, traffic: _Traffic) -> None:
        self._traffic, self._counted = traffic, False
        self.began, self.before = time.perf_counter(), traffic.there
        self._count()
        self._timer = asyncio.get_running_loop().call_later(_KNOCK_SECONDS, self.let_go)

    def body_came(self) -> None:
        """All of it: from now on it is the service that takes the time."""
        self._timer.cancel()
        self.began, self.before = time.perf_counter(), self._traffic.there - self._counted
        self._count()

    def let_go(self) -> None:
        """It is not to be waited for any more."""
        self._timer.cancel()
        if self._counted:
            self._counted = False
            self._traffic.knocking -= 1

    def _count(self) -> None:
        if not self._counted:
            self._counted = True
            self._traffic.knocking += 1


class Admission:
    """Room for the pictures of requests, from before they are decoded until they are answered.

    Args:
        max_pictures: of all requests, whatever they wait for: they are held in memory.
        max_seconds: that a request of each lane may expect to wait; where nothing waits, one of any size is taken.
    """

    def __init__(self, *, max_pictures: int, max_seconds: Mapping[Lane, float]) -> None:
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
        most_seconds = self._max_seconds[lane]
        full = there and there + max(1, pictures) > self._max_pictures
        if full or traffic.wait_seconds > most_seconds:
            why = (
                f"at most {self._max_pictures} are taken at once"
                if full
                else f"those before yours take about {traffic.wait_seconds:.1f} s, and at most "
                f"{most_seconds:g} s of waiting are taken"
            )
            raise Overloaded(
                f"{there} pictures are being worked on{f' and {pictures} more came' if pictures else ''}; {why}",
                retry_after_seconds=max(1, math.ceil(traffic.wait_seconds)),
            )

    def knock(self, lane: Lane) -> "Knock":
        """Count a request of which nothing else is known yet: else hundreds would be let in to be refused later."""
        return Knock(self._lanes[lane])

    @asynccontextmanager
    async def admit(self, lane: Lane, pictures: int, knock: Knock | None = None) -> AsyncIterator[None]:
        """Hold room for the pictures of a request, which knocked if it came from outside.

        Raises:
            Overloaded: there is none.
        """
        self.check(lane, pictures)
        traffic = self._lanes[lane]
        traffic.pictures += pictures
        # From its coming on: what it waits for before it is known what it asks for is waiting too.
        began, before = (
            (time.perf_counter(), traffic.there) if knock is None else (knock.began, knock.before + pictures)
        )
        try:
            yield
            # A request's whole stay for all that was there when it came: decoding and reporting count as they should.
            seen = (time.perf_counter() - began) / max(1, before)
            traffic.seconds_per_picture += _FOLLOW * (seen - traffic.seconds_per_picture)
        finally:
            traffic.pictures -= pictures
