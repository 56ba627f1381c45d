"""How much may wait: past it a request is refused at once, before its body is read, and told when to come again."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import Enum

from service.errors import Overloaded

_FOLLOW = 0.1
"""Weight of the last request in a lane's running means."""

_TURN_PICTURES = 16
"""What one job may get before the next has its turn, so that a small request waits for no more of a large one."""

_SLOWER = 2
"""A request may wait as many times as long as it takes itself, however long that is."""

_FEW_REQUESTS, _LENIENCE = 8, 5
"""Behind so few it may wait so many times as long: that each takes its time, on a slow machine, is no overload."""

_KNOCK_SECONDS = 1.0


class Lane(Enum):
    """Who waits behind whom: classifying goes before creating, so that neither counts what waits in the other."""

    CLASSIFY = "classify"
    CREATE = "create"


class _Traffic:
    """What is there of one lane, and how long such takes.

    Attributes:
        pictures: of all admitted requests.
        knocking: requests of which nothing else is known yet.
    """

    def __init__(self) -> None:
        self.pictures = self.knocking = 0
        self._sizes: Counter[int] = Counter()
        self._seconds_per_picture, self._usual_pictures = 0.0, 1.0

    @property
    def requests(self) -> int:
        """All that are there."""
        return self.knocking + self._sizes.total()

    def ahead(self, pictures: int | None = None) -> float:
        """Pictures whose turn comes before the last of a request, or of a usual one where its size is not known."""
        most = max(_TURN_PICTURES, self._usual_pictures if pictures is None else pictures)
        admitted = sum(min(size, most) * count for size, count in self._sizes.items())
        return admitted + self.knocking * min(self._usual_pictures, most)

    def seconds(self, pictures: float) -> float:
        """How long so many take, going by the requests before."""
        return pictures * self._seconds_per_picture

    def enter(self, pictures: int) -> None:
        """Count an admitted request."""
        self.pictures += pictures
        self._sizes[pictures] += 1
        self._usual_pictures += _FOLLOW * (pictures - self._usual_pictures)

    def leave(self, pictures: int) -> None:
        """Count it no more."""
        self.pictures -= pictures
        self._sizes[pictures] -= 1
        if not self._sizes[pictures]:
            del self._sizes[pictures]

    def saw(self, seconds: float, pictures: float) -> None:
        """A request stayed so long for itself and what was ahead of it: whatever it was that took the time."""
        self._seconds_per_picture += _FOLLOW * (seconds / max(1, pictures) - self._seconds_per_picture)


class Knock:
    """A request that is counted from its first byte until it is admitted, but for a body that comes slowly.

    Whoever sends slowly keeps nobody out for longer than a second.

    Attributes:
        began: when it came, or its body was all there; seconds of `time.perf_counter`.
    """

    def __init__(self, traffic: _Traffic) -> None:
        self._traffic, self._counted = traffic, False
        self.began = time.perf_counter()
        self._count()
        self._timer = asyncio.get_running_loop().call_later(_KNOCK_SECONDS, self.let_go)

    def body_came(self) -> None:
        """All of it: from now on it is the service that takes the time."""
        self._timer.cancel()
        self.began = time.perf_counter()
        self._count()

    def let_go(self) -> None:
        """It is not to be waited for any more, or is counted with its pictures."""
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
        max_seconds: that a request of each lane may expect to wait, or twice its own time where that is more; longer
            behind a few only; where nothing waits, one of any size is taken.
    """

    def __init__(self, *, max_pictures: int, max_seconds: Mapping[Lane, float]) -> None:
        self._max_pictures, self._max_seconds = max_pictures, max_seconds
        self._lanes = {lane: _Traffic() for lane in Lane}

    @property
    def pictures(self) -> int:
        """Of all admitted requests."""
        return sum(traffic.pictures for traffic in self._lanes.values())

    def check(self, lane: Lane, pictures: int | None = None) -> None:
        """Refuse what finds too much before it.

        Raises:
            Overloaded: says when to ask again.
        """
        traffic, there, more = self._lanes[lane], self.pictures, pictures or 0
        wait_seconds = traffic.seconds(traffic.ahead(pictures))
        most_seconds = max(self._max_seconds[lane], _SLOWER * traffic.seconds(more))
        if traffic.requests < _FEW_REQUESTS:
            most_seconds *= _LENIENCE
        full = there and there + max(1, more) > self._max_pictures
        if full or wait_seconds > most_seconds:
            why = (
                f"at most {self._max_pictures} are taken at once"
                if full
                else f"those before yours take about {wait_seconds:.1f} s, and at most {most_seconds:.2g} s of waiting "
                "are taken"
            )
            raise Overloaded(
                f"{there} pictures are being worked on{f' and {more} more came' if more else ''}; {why}",
                retry_after_seconds=max(1, math.ceil(wait_seconds)),
            )

    def knock(self, lane: Lane) -> Knock:
        """Count a request of which nothing else is known yet: else hundreds would be let in to be refused later."""
        return Knock(self._lanes[lane])

    @asynccontextmanager
    async def admit(self, lane: Lane, pictures: int, knock: Knock | None = None) -> AsyncIterator[None]:
        """Hold room for the pictures of a request, which knocked if it came from outside.

        Raises:
            Overloaded: there is none.
        """
        # From its coming on: what it waits for before it is known what it asks for is waiting too.
        began = time.perf_counter() if knock is None else knock.began
        if knock is not None:
            knock.let_go()
        self.check(lane, pictures)
        traffic = self._lanes[lane]
        ahead = traffic.ahead(pictures) + pictures
        traffic.enter(pictures)
        try:
            yield
            traffic.saw(time.perf_counter() - began, ahead)
        finally:
            traffic.leave(pictures)
