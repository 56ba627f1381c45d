"""A hundred thousand stored classifiers are no burden to one."""

import sqlite3
import statistics
import time
from pathlib import Path

import httpx
import pytest

from tests.service.running import Service, b64, digits, examples, start

PAIRS = digits(2, labels=(3, 8))
IMAGES = [b64(data) for _, data in digits(1, start=9, labels=(3,))]


def fill(data: Path, count: int) -> list[str]:
    """A data folder with so many classifiers, copies of one that the service itself made; some of their ids."""
    service = start(data)
    with service.client() as client:
        made = client.post("/v1/classifiers", json={"examples": examples(PAIRS)})
        assert made.status_code == 201, made.text
    assert service.stop() == 0
    database = sqlite3.connect(data / "kshot.sqlite3")
    for table, own in (("classifiers", "id"), ("examples", "classifier_id")):
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        copied = {name: f"{name}" for name in columns}
        copied[own] = "'clf_' || printf('%024x', value)"
        if table == "examples":
            copied["id"] = "'exm_' || printf('%020x', value) || printf('%04x', position)"
        names, values = ", ".join(f'"{name}"' for name in columns), ", ".join(copied.values())
        database.execute(
            f"WITH RECURSIVE numbers(value) AS (SELECT 2 UNION ALL SELECT value + 1 FROM numbers WHERE value < ?) "  # noqa: S608
            f"INSERT INTO {table} ({names}) SELECT {values} FROM numbers, "
            f"(SELECT * FROM {table} WHERE {own} = ?) AS one",
            (count, made.json()["id"]),
        )
    database.commit()
    assert database.execute("SELECT count(*) FROM classifiers").fetchone() == (count,)
    database.close()
    step = max(1, count // 10)
    return [f"clf_{number:024x}" for number in range(2, count + 1, step)][:9]


def start_timed(data: Path) -> tuple[Service, float]:
    began = time.monotonic()
    service = start(data)
    return service, time.monotonic() - began


def classify_ms(client: httpx.Client, identifiers: list[str]) -> list[float]:
    times = []
    for identifier in identifiers:
        began = time.perf_counter()
        answer = client.post(f"/v1/classifiers/{identifier}/classify", json={"images": IMAGES})
        times.append(1000 * (time.perf_counter() - began))
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"][0]["prediction"] == "3"
    return times


@pytest.mark.parametrize(
    "count", [pytest.param(10_000, marks=pytest.mark.faults), pytest.param(100_000, marks=pytest.mark.soak)]
)
def test_one_of_very_many_is_as_fast_as_one_of_ten(tmp_path: Path, count: int) -> None:
    """Asked in turns, so that a busy machine is busy for both."""
    few, many = fill(tmp_path / "few", 10), fill(tmp_path / "many", count)
    (one, few_seconds), (other, many_seconds) = start_timed(tmp_path / "few"), start_timed(tmp_path / "many")
    try:
        with one.client() as first, other.client() as second:
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(40):
                times[0].extend(classify_ms(first, few))
                times[1].extend(classify_ms(second, many))
            page = second.get("/v1/classifiers?limit=100")
            assert len(page.json()["data"]) == 100
    finally:
        one.kill()
        other.kill()
    few_ms, many_ms = (statistics.median(each[20:]) for each in times)
    print(
        f"classify p50 with 10: {few_ms:.2f} ms, with {count}: {many_ms:.2f} ms ({many_ms / few_ms:.3f}); "
        f"start-up {few_seconds:.1f} s and {many_seconds:.1f} s"
    )
    assert many_ms < 1.1 * few_ms
    assert many_seconds < few_seconds + 2
