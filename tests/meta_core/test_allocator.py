"""Memory that a step frees stays with the process, where the C library can be told so."""

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys, torch
from meta_core.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for turn in range(30):
    if turn == 20:  # by then it has grown to what it needs
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Pages that the system handed out while the same memory was asked for again and again."""
    done = subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_that_was_freed_is_not_asked_of_the_system_again() -> None:
    # Ten times 64 MB are 160,000 pages, or some hundreds where the system has large ones.
    kept, usual = faults("keep"), faults("as usual")
    assert kept < 20
    assert usual > 100
