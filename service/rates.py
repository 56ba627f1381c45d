"""How often a key may ask: a bucket that refills all the time, so that a burst is served and a stream is slowed."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

_MOST_KEYS = 10_000
"""Remembered at once; who is forgotten begins with a full bucket."""


class Allowance(NamedTuple):
    """What is left to a key after a request.

    Attributes:
        limit: requests a minute.
        remaining: requests that would be taken now.
        reset_seconds: until the bucket is full again.
        wait_seconds: until the next is taken; 0 where this one was.
    """

    limit: int
    remaining: int
    reset_seconds: int
    wait_seconds: int

    def headers(self) -> dict[str, str]:
        """As they stand in an answer."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
        }


class Rates:
    """The buckets of this process: several replicas allow each as much.

    Args:
        clock: seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key_id: str, *, per_minute: int) -> Allowance:
        """Count a request, unless there have been too many; the bucket holds a minute's worth."""
        now, rate = self._clock(), per_minute / 60
        left, at = self._buckets.pop(key_id, (float(per_minute), now))
        left = min(float(per_minute), left + (now - at) * rate)
        taken = left >= 1
        left -= taken
        self._buckets[key_id] = (left, now)
        if len(self._buckets) > _MOST_KEYS:
            self._buckets.popitem(last=False)
        return Allowance(
            limit=per_minute,
            remaining=int(left),
            reset_seconds=math.ceil((per_minute - left) / rate),
            wait_seconds=0 if taken else math.ceil((1 - left) / rate),
        )
