"""Under mixed load for long, nothing grows: not memory, not open files, not threads."""

import statistics
import threading
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.service.histories import Writer
from tests.service.running import running

WRITERS = 4


class Sample(NamedTuple):
    """Of the serving process."""

    seconds: float
    resident_bytes: int
    open_files: int
    threads: int


def watch(process: psutil.Process, *, seconds: float, every_seconds: float) -> list[Sample]:
    began, samples = time.monotonic(), list[Sample]()
    while (now := time.monotonic() - began) < seconds:
        samples.append(Sample(now, process.memory_info().rss, process.num_fds(), process.num_threads()))
        time.sleep(every_seconds)
    return samples


@pytest.mark.parametrize(
    ("seconds", "growth"),
    [pytest.param(180, 0.05, marks=pytest.mark.faults), pytest.param(1800, 0.02, marks=pytest.mark.soak)],
)
def test_nothing_grows_under_mixed_load(tmp_path: Path, seconds: float, growth: float) -> None:
    """After the first sixth, in which caches fill and allocators find their size; the median of the last sixth."""
    over, wrong, acknowledged = threading.Event(), list[BaseException](), list[int]()
    # A cache that is soon full, as it would be after weeks.
    with running(tmp_path / "data", KSHOT_STATE_CACHE_BYTES="1000000") as service:

        def write(seed: int) -> None:
            try:
                with service.client(120) as client:
                    writer = Writer(seed, [client])
                    while not over.is_set():
                        writer.step()
                    acknowledged.append(writer.acknowledged)
            except BaseException as error:
                wrong.append(error)

        writers = [threading.Thread(target=write, args=(seed,)) for seed in range(WRITERS)]
        for writer in writers:
            writer.start()
        try:
            samples = watch(psutil.Process(service.process.pid), seconds=seconds, every_seconds=1)
        finally:
            over.set()
            for writer in writers:
                writer.join()
    assert not wrong, wrong[:3]
    first = [sample for sample in samples if seconds / 6 <= sample.seconds < seconds / 3]
    last = [sample for sample in samples if sample.seconds >= seconds * 5 / 6]
    before, after = (statistics.median(sample.resident_bytes for sample in some) for some in (first, last))
    print(
        f"{sum(acknowledged)} acknowledged changes in {seconds:g} s: {before / 1e6:.0f} MB became {after / 1e6:.0f} MB "
        f"({after / before - 1:+.1%}); open files {first[0].open_files} to {last[-1].open_files}, "
        f"threads {first[0].threads} to {last[-1].threads}"
    )
    assert after < (1 + growth) * before
    assert max(sample.open_files for sample in last) <= max(sample.open_files for sample in first) + 2
    assert max(sample.threads for sample in last) <= max(sample.threads for sample in first)
