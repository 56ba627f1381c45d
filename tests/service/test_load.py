"""Many clients at once get what one alone gets."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.service.running import Service, running
from tests.service.traffic import kinds, one_round

CLIENTS = 64


def load(service: Service, seconds: float) -> tuple[int, list[str]]:
    """Rounds that 64 clients finished in so many seconds, and what went wrong."""
    with service.client() as client:
        known = kinds(client)
    until = time.monotonic() + seconds

    def one_client(number: int) -> tuple[int, list[str]]:
        choice, rounds, wrong = random.Random(number), 0, list[str]()
        with service.client(timeout_seconds=120) as client:
            while time.monotonic() < until:
                wrong += one_round(client, choice.choice(known), choice)
                rounds += 1
        return rounds, wrong

    with ThreadPoolExecutor(CLIENTS) as pool:
        results = list(pool.map(one_client, range(CLIENTS)))
    return sum(rounds for rounds, _ in results), [error for _, errors in results for error in errors]


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.soak)])
def test_sixty_four_clients_are_answered_as_one_alone(tmp_path: Path, seconds: float) -> None:
    with running(tmp_path / "data") as service:
        rounds, wrong = load(service, seconds)
        assert service.process.poll() is None
    print(f"{rounds} rounds of create, classify, delete by {CLIENTS} clients in {seconds} s; {len(wrong)} wrong")
    assert not wrong, wrong[:5]
    assert rounds >= CLIENTS


def test_past_its_room_the_service_sheds_with_a_time_to_come_again(tmp_path: Path) -> None:
    with running(tmp_path / "data", KSHOT_LIMITS__WAITING_PICTURES="60") as service:
        _, wrong = load(service, 4)
        with service.client() as client:
            assert client.get("/readyz").status_code == 200
            assert not one_round(client, kinds(client)[0], random.Random(0))
    assert not wrong, wrong[:5]
