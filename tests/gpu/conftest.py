"""The service's fixtures again, of services that compute on CUDA."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.gradient import write_models
from tests.service.running import Service, running


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every shipped model and such as adapt by gradient."""
    return write_models(tmp_path_factory.mktemp("every") / "models")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("service") / "data", every=True, device="cuda") as started:
        yield started


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="session")
def every(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of all models."""
    with running(tmp_path_factory.mktemp("every") / "data", models_dir=models, device="cuda") as started:
        yield started


@pytest.fixture
def every_client(every: Service) -> Iterator[httpx.Client]:
    with every.client(timeout_seconds=120) as client:
        yield client
