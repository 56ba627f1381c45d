from collections.abc import Iterator

import httpx
import pytest

from tests.service.hostile import Target
from tests.service.running import Service, running


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("service") / "data") as started:
        yield started


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="session")
def target(service: Service) -> Iterator[Target]:
    """The same service, for requests that it refuses."""
    with service.client() as client:
        yield Target.of(service, client)
