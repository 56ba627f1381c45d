"""What was acknowledged survives kill −9, whole; what was not is not there by half."""

import random
import threading
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text

from tests.service.running import Service, start
from tests.service.traffic import Kind, classify, create, is_right, kinds

WRITERS = 8


def create_until_killed(service: Service, known: list[Kind], seconds: float) -> dict[str, Kind]:
    """Writers create classifiers without pause; the service is killed under them; what was acknowledged."""
    acknowledged: dict[str, Kind] = {}

    def write(number: int) -> None:
        choice = random.Random(number)
        with service.client() as client:
            while True:
                kind = choice.choice(known)
                try:
                    answer = create(client, kind)
                except httpx.TransportError:
                    return
                if answer.status_code == 201:
                    acknowledged[answer.json()["id"]] = kind

    writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    time.sleep(seconds)
    service.kill()
    for writer in writers:
        writer.join()
    return acknowledged


def assert_whole(data: Path) -> None:
    """Every classifier in the database has all its examples, and no example is without one."""
    engine = create_engine(f"sqlite:///{data / 'kshot.sqlite3'}")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        assert not connection.execute(text("PRAGMA foreign_key_check")).all()
        uneven = text(
            "SELECT id FROM classifiers c WHERE (SELECT sum(value) FROM json_each(c.shots)) != "
            "(SELECT count(*) FROM examples e WHERE e.classifier_id = c.id)"
        )
        assert not connection.execute(uneven).all()
    engine.dispose()


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.soak)])
def test_acknowledged_classifiers_survive_being_killed_at_random_moments(tmp_path: Path, kills: int) -> None:
    data, choice, total = tmp_path / "data", random.Random(0), 0
    service = start(data)
    try:
        with service.client() as client:
            known = kinds(client)
        for _ in range(kills):
            acknowledged = create_until_killed(service, known, choice.uniform(0.05, 1.5))
            assert_whole(data)
            service = start(data)
            with service.client() as client:
                lost = [i for i in acknowledged if client.get(f"/v1/classifiers/{i}").status_code != 200]
                wrong = [
                    identifier
                    for identifier, kind in acknowledged.items()
                    if identifier not in lost and not is_right(kind, classify(client, kind, identifier))
                ]
            assert not lost
            assert not wrong
            total += len(acknowledged)
    finally:
        service.kill()
    print(f"{kills} kills, {total} acknowledged classifiers, none lost, none half there")
    assert total > kills
