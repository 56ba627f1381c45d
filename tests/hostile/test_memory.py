"""Everything bad at once, twice over: the service takes a bounded amount of memory and gives it back."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.hostile import test_addresses, test_archives, test_bodies, test_forms, test_images, test_many
from tests.hostile.requests import CLASSIFY, Case, Target, black_png
from tests.service.running import b64, running, wait_until_ready

MEGABYTE = 2**20
SECONDS = 5
"""No refusal takes longer."""
CORPUS = [
    *test_images.CASES,
    *test_images.EMPTY,
    *test_images.TEXT_CASES,
    *test_archives.CASES,
    *test_archives.OVERLAPPING_CASES,
    *test_bodies.CASES,
    *test_forms.CASES,
    *test_addresses.CASES,
    *test_many.CASES,
]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Target]:
    """A service that nobody else has sent anything to."""
    with running(tmp_path / "data") as service, service.client() as client:
        yield Target.of(service, client)


class Peak:
    """The most memory that the service takes while this is entered, over what it took before."""

    def __init__(self, target: Target) -> None:
        self._process = psutil.Process(target.service.process.pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before = self.most = self._process.memory_info().rss

    @property
    def grown(self) -> int:
        return self.most - self.before

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.most = max(self.most, self._process.memory_info().rss)


def send(target: Target, case: Case) -> None:
    body, began = case.body(), time.monotonic()
    answer = Case(case.name, case.path, lambda: body, case.says, case.how, case.method).send(
        target.client, target.classifier_id
    )
    assert time.monotonic() - began < SECONDS, case.name
    assert 400 <= answer.status_code < 500, (case.name, answer.text[:1000])


def test_all_that_is_bad_sent_twice_takes_no_more_memory_the_second_time(alone: Target) -> None:
    taken = []
    for _ in range(2):
        with Peak(alone) as peak:
            for case in CORPUS:
                send(alone, case)
        alone.assert_unharmed()
        assert_idle(alone)
        taken.append(psutil.Process(alone.service.process.pid).memory_info().rss)
        print(f"{len(CORPUS)} bad requests: {taken[-1] // MEGABYTE} MB after, at most {peak.most // MEGABYTE} MB")
    assert taken[1] < 1.1 * taken[0] + 60 * MEGABYTE
    assert alone.stored() == [alone.classifier_id]
    assert "Traceback" not in alone.service.log.read_text()
    wait_until_ready(alone.service)


def assert_idle(target: Target) -> None:
    """No thread is still at work on something that was refused."""
    process = psutil.Process(target.service.process.pid)
    before = sum(process.cpu_times()[:2])
    time.sleep(0.5)
    assert sum(process.cpu_times()[:2]) - before < 0.25


@pytest.mark.parametrize(
    ("name", "megabytes"),
    [
        ("a gigabyte of zeros", 100),
        ("a bzip2 bomb", 20),
        ("an lzma bomb", 20),
        ("a hundred thousand entries", 50),
        ("entries that quote each other", 400),
        ("classify: png 20000", 30),
        ("classify: png 13300", 30),
        ("classify: tiff of 30000 frames", 50),
        ("classify: png with a text bomb", 50),
        ("create: a million zeros", 50),
        ("create: a million objects", 50),
        ("create: a hundred thousand brackets", 20),
        ("create: forty thousand zeros", 100),
    ],
)
def test_a_bomb_takes_little_memory(target: Target, name: str, megabytes: int) -> None:
    (case,) = (case for case in CORPUS if case.name == name)
    body = case.body()
    with Peak(target) as peak:
        send(target, Case(case.name, case.path, lambda: body, case.says, case.how, case.method))
    assert peak.grown < megabytes * MEGABYTE


def test_the_largest_pictures_that_are_taken_need_memory_for_as_many_as_there_are_threads(alone: Target) -> None:
    image = b64(black_png(7000, 7000, colour=6))
    cores = psutil.cpu_count() or 1
    with Peak(alone) as peak:
        answer = alone.client.post(CLASSIFY.replace("{id}", alone.classifier_id), json={"images": [image] * 4})
    assert answer.status_code == 200, answer.text
    print(f"four pictures of 49 megapixels on {cores} cores: {peak.grown // MEGABYTE} MB")
    assert peak.grown < 900 * MEGABYTE * min(cores, 4)
