from collections.abc import Iterator

import httpx
import pytest

from tests.hostile.requests import Target
from tests.service.running import Service, running


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for everything bad."""
    with running(tmp_path_factory.mktemp("service") / "data") as started:
        yield started


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="session")
def target(service: Service) -> Iterator[Target]:
    """The same service, with a classifier of somebody who has nothing to do with it."""
    with service.client() as client:
        yield Target.of(service, client)
