"""To which size a batch is padded."""

from bisect import bisect_left
from collections.abc import Sequence


def next_size(count: int, sizes: Sequence[int]) -> int | None:
    """The smallest of the ascending `sizes` that holds so many; None where none does."""
    place = bisect_left(sizes, count)
    return sizes[place] if place < len(sizes) else None
