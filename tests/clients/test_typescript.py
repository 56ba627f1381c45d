"""hey-api's client of the live document type-checks and passes a session against the live server."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Place, page_blocks, shown

pytestmark = pytest.mark.clients

FOLDER = Path(__file__).parent / "typescript"
SESSION = FOLDER / "session.ts"


@pytest.fixture(scope="module")
def project(place: Place) -> Path:
    """A project as the page has people make one, with the generated client and the session in it."""
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(FOLDER / name, place.folder)
    bash(place, "npm ci --prefer-offline")
    (configuration,) = page_blocks("json")
    assert configuration.file == "tsconfig.json"
    (place.folder / configuration.file).write_text(configuration.text, "utf-8")
    (generate,) = (block for block in page_blocks("sh") if "openapi-ts --input" in block.text)
    bash(place, place.command(generate))
    place.session(SESSION, to=place.folder / "session.ts")
    return place.folder


def bash(place: Place, commands: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=place.folder,
        env=place.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_shows_what_the_session_does() -> None:
    assert shown(SESSION, rule="// ---") == [block.text.strip() for block in page_blocks("typescript")]


def test_the_page_installs_the_tested_versions_and_the_lock_names_no_host() -> None:
    (install,) = (block.text for block in page_blocks("sh") if "npm install" in block.text)
    wanted = json.loads((FOLDER / "package.json").read_text())["devDependencies"]
    for name, version in wanted.items():
        assert f" {name}@{version}" in install
    packages = json.loads((FOLDER / "package-lock.json").read_text())["packages"].items()
    assert [name for name, package in packages if "resolved" in package] == []
    assert [name for name, package in packages if name and "integrity" not in package] == []


def test_the_client_type_checks_and_passes_its_session(place: Place, project: Path) -> None:
    (run,) = (block for block in page_blocks("sh") if block.text.startswith("npx tsc"))
    check, session = run.text.splitlines()
    bash(place, f"{check} --noEmit")
    with (project / "session.ts").open("a") as program:  # what is wrong would be found
        program.write("// @ts-expect-error\nmade.data.labels[0]!.shots.trim;\n")
    bash(place, check)
    assert bash(place, session).endswith("the session is over\n")
