"""The C library's memory allocator, told that a training step's tensors come back in the next step."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""`M_…` of glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed for what is asked for next, for the rest of this process.

    By default it gives blocks of over 32 MB back to the system, which zeroes them page by page when they are asked for
    again: 4 in 10 of a training step's time. What a process takes at most, it then has until it ends, so this is for
    one that trains and ends.

    Returns:
        Whether there was something to set: False where the C library is not glibc.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    largest = 2**31 - 1
    return all(
        mallopt(option, value) for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, largest), (_ARENA_MAX, 1))
    )
