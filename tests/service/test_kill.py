"""What was acknowledged survives kill −9, whole; what was not is there wholly or not at all."""

import json
import random
import threading
import time

import httpx
import pytest

from tests.service.histories import Contradiction, Writer
from tests.service.postgres import Place
from tests.service.running import Service, start

WRITERS = 6


def write_until_killed(service: Service, writers: list[Writer], seconds: float) -> list[Contradiction]:
    """All writers change their classifiers without pause; the service is killed under them."""
    wrong: list[Contradiction] = []

    def write(writer: Writer) -> None:
        with service.client() as client:
            writer.clients = [client]
            try:
                while True:
                    writer.step()
            except httpx.TransportError:
                return
            except Contradiction as error:
                wrong.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    service.kill()
    for thread in threads:
        thread.join()
    return wrong


def settle(service: Service, writers: list[Writer]) -> None:
    with service.client() as client:
        for writer in writers:
            writer.clients = [client]
            writer.settle()
            writer.check()


def assert_whole(place: Place, writers: list[Writer]) -> None:
    """Nothing but the writers' classifiers is there, and each has its examples and no others."""
    expected = {history.identifier: len(history.pairs or ()) for writer in writers for history in writer.histories}
    counts = {
        row[0]: row[1] for row in place.run("SELECT classifier_id, count(*) FROM examples GROUP BY classifier_id")
    }
    shots = {row[0]: row[1] for row in place.run("SELECT id, shots FROM classifiers")}
    told = {key: sum(json.loads(value) if isinstance(value, str) else value) for key, value in shots.items()}
    assert counts == told == expected
    if place.url is None:
        assert place.run("PRAGMA integrity_check") == [("ok",)]
        assert not place.run("PRAGMA foreign_key_check")


@pytest.mark.parametrize(
    "kills", [1, pytest.param(20, marks=pytest.mark.faults), pytest.param(200, marks=pytest.mark.soak)]
)
def test_acknowledged_changes_survive_being_killed_at_random_moments(place: Place, kills: int) -> None:
    choice, writers = random.Random(0), [Writer(seed, []) for seed in range(WRITERS)]
    data = place.folder / "data"
    service = start(data, **place.environment)  # type: ignore[arg-type]
    try:
        for _ in range(kills):
            wrong = write_until_killed(service, writers, choice.uniform(0.05, 1.5))
            assert not wrong, wrong[:3]
            service = start(data, **place.environment)  # type: ignore[arg-type]
            settle(service, writers)
            assert_whole(Place(data, place.url), writers)
    finally:
        service.kill()
    total = sum(writer.acknowledged for writer in writers)
    print(f"{kills} kills, {total} acknowledged changes, none lost, none applied by half")
    assert total > 0
