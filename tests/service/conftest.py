from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.hostile.requests import Target
from tests.ray.running import running_on_ray
from tests.service.gradient import MAML, write_models
from tests.service.postgres import Place, Server, postgres_server
from tests.service.running import Service, running


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "run the tests that ask the common service, and let it be two replicas on Ray Serve"
    parser.addoption("--on-ray", action="store_true", help=help_text)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if on_ray(config):
        asking = [item for item in items if "service" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in asking])
        items[:] = asking


def on_ray(config: pytest.Config) -> bool:
    return bool(config.getoption("--on-ray", default=False))


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("service")
    if on_ray(request.config):
        with running_on_ray(folder, postgres=request.getfixturevalue("postgres"), every=True) as started:
            yield started
        return
    with running(folder / "data", every=True) as started:
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


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every shipped model and such as adapt by gradient."""
    return write_models(tmp_path_factory.mktemp("every") / "models")


@pytest.fixture(scope="session")
def maml_alone(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model, which adapts by gradient."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / MAML).symlink_to(models / MAML)
    return folder


@pytest.fixture(scope="session")
def every(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of all of them, which lets thirty users wait however slow the machine is."""
    patient = {"KSHOT_THREADS": "2", "KSHOT_LIMITS__WAITING_SECONDS": "60"}
    with running(tmp_path_factory.mktemp("every") / "data", models_dir=models, **patient) as started:
        yield started


@pytest.fixture
def every_client(every: Service) -> Iterator[httpx.Client]:
    with every.client(timeout_seconds=120) as client:
        yield client


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One server for all tests that leave it running."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database of each kind."""
    server: Server | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    return Place(tmp_path, None if server is None else server.new_database())
