"""A service with keys, and a folder with the pictures that docs/clients.md speaks of."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from service.settings import Settings
from tests.docs import sandbox
from tests.docs.blocks import REPOSITORY, Block, blocks
from tests.service.running import Service, drawings, running
from tests.service.test_keys import make as make_key

PAGE = blocks((REPOSITORY / "docs" / "clients.md").read_text("utf-8"))


class Place(NamedTuple):
    """Where a session runs: a folder, and a service with two keys."""

    folder: Path
    service: Service
    key: str
    limited_key: str

    def command(self, block: Block) -> str:
        """A block of the page, of this service."""
        return block.text.replace("http://127.0.0.1:8000", self.service.url)

    def session(self, program: Path, *, to: Path) -> None:
        """Write a session that asks this service."""
        to.write_text(program.read_text("utf-8").replace("http://127.0.0.1:8000", self.service.url), "utf-8")

    def environment(self) -> dict[str, str]:
        """This one with what the page has people put there; programs of this interpreter's environment come first."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "KSHOT_KEY": self.key, "KSHOT_LIMITED_KEY": self.limited_key}


@pytest.fixture(scope="package")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Settings]]:
    data = tmp_path_factory.mktemp("clients") / "data"
    with running(data, KSHOT_AUTH="keys") as service:
        yield service, Settings(data_dir=data, models_dir=drawings())


@pytest.fixture(scope="module")
def place(started: tuple[Service, Settings], tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder and a tenant of its own for each kind of client."""
    service, settings = started
    folder = tmp_path_factory.mktemp("session")
    sandbox.fill(folder)
    key = make_key(settings, tenant=folder.name)
    return Place(folder, service, key, make_key(settings, tenant=folder.name, requests_per_minute=30))


def page_blocks(language: str) -> list[Block]:
    """Those blocks of docs/clients.md in a language."""
    return [block for block in PAGE if block.language == language]


def shown(program: Path, *, rule: str) -> list[str]:
    """The parts of a session that the page shows: every other one between rules."""
    return [part.strip() for part in program.read_text("utf-8").split(f"{rule}\n")[1::2]]
