"""What README.md, CONTRIBUTING.md and docs/ tell people to type works as it stands.

The blocks of a page are run in their order, in one folder, against one live service: shell commands by bash, Python by
this interpreter, with the variables of the blocks before. JSON and TOML are read. docs/clients.md has tests of its own,
and so has the Python of CONTRIBUTING.md. What is not run says why, and is held to what exists by test_mentions.py.
"""

import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import sandbox
from tests.docs.blocks import PAGES, REPOSITORY, Block, blocks
from tests.service.running import MODELS, Service, free_port, running

pytestmark = pytest.mark.docs

ELSEWHERE = {
    ("docs/clients.md", "python"): "tests/clients/test_python.py",
    ("docs/clients.md", "typescript"): "tests/clients/test_typescript.py",
    ("docs/clients.md", "sh"): "tests/clients",
    ("CONTRIBUTING.md", "python"): "tests/test_contributing.py",
}
"""By whom what is not run here is run."""
A_COMMAND_SECONDS, A_TRAINING_SECONDS = 60, 180
THREADS = {"KSHOT_THREADS": "1"}
"""Of the service and of each command: two pages are tried at a time."""
NOTHING_TO_RUN = ("", "text", "console", "{toctree}")


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def blocks_of(page: Path) -> list[Block]:
    return [block for block in blocks(page.read_text("utf-8")) if (name(page), block.language) not in ELSEWHERE]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those shipped models that pages name in requests."""
    folder = tmp_path_factory.mktemp("models")
    for model in ("photos", "omniglot-protonet", "omniglot-anil"):
        (folder / model).symlink_to(MODELS / model)
    return folder


@pytest.fixture(scope="module")
def open_to_all(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all pages that leave it open to all."""
    with running(tmp_path_factory.mktemp("docs") / "data", models_dir=models, **THREADS) as service:
        yield service


@pytest.fixture
def service(page: Path, models: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    """For a page: once there is a key, a service wants it of everybody."""
    if any("kshot keys create" in block.text for block in blocks_of(page) if block.not_run is None):
        with running(tmp_path / "data", models_dir=models, **THREADS) as own:
            yield own
    else:
        yield request.getfixturevalue("open_to_all")


class Reader:
    """Somebody who types what a page says."""

    def __init__(self, folder: Path, service: Service) -> None:
        sandbox.fill(folder)
        self.folder, self.service = folder, service
        (folder / "models").mkdir()
        for model in MODELS.iterdir():
            (folder / "models" / model.name).symlink_to(model)
        data = service.process.args[service.process.args.index("--data-dir") + 1]  # type: ignore[index, union-attr]
        beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        settings = {"KSHOT_DATA_DIR": str(data), "KSHOT_DEVICE": "cpu", "KSHOT_PORT": str(free_port())} | THREADS
        self.environment = os.environ | {"PATH": beside} | settings

    def type(self, block: Block) -> None:
        """Run a block; what it sets is there for the next."""
        if block.file is not None:
            (self.folder / block.file).write_text(block.text, "utf-8")
        text = block.text.replace("http://127.0.0.1:8000", self.service.url)
        if block.language == "sh":
            self._bash(_lengthened(text, block.run_with))
        elif block.language == "python":
            self._run(sys.executable, "-c", text, seconds=A_COMMAND_SECONDS)
        elif block.language == "json":
            json.loads(text)
        elif block.language == "toml":
            tomllib.loads(text)
        else:
            assert block.language in NOTHING_TO_RUN, f"nothing is known of {block.language!r}"

    def _bash(self, commands: str) -> None:
        # curl takes an error for an answer unless it is told not to.
        before = '[ ! -f .variables ] || . ./.variables; curl() { command curl --fail-with-body "$@"; }; set -a'
        seconds = A_TRAINING_SECONDS if "kshot train" in commands else A_COMMAND_SECONDS * len(commands.splitlines())
        commands = f"{before}\n{commands}\nset +a; export -p >.variables"
        self._run("bash", "-euo", "pipefail", "-c", commands, seconds=seconds)

    def _run(self, *command: str, seconds: float) -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{command[-1]}\n→ {done.returncode}\n{done.stdout}"


def _lengthened(commands: str, options: str) -> str:
    """With `options` behind each `kshot` command, before a comment."""
    if not options:
        return commands
    lines = []
    for line in commands.splitlines():
        command, *_comment = line.split("  #")
        lines.append(f"{command} {options}" if shlex.split(command)[:1] == ["kshot"] else line)
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_a_page_tells_people_to_type_works(page: Path, service: Service, tmp_path: Path) -> None:
    found = [block for block in blocks_of(page) if block.not_run is None]
    folder = tmp_path / "reader"
    folder.mkdir()
    reader = Reader(folder, service)
    for block in found:
        try:
            reader.type(block)
        except (AssertionError, ValueError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"{name(page)}:{block.line}: {error}") from error
