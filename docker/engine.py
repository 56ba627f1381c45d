"""Docker and Docker Compose by their own commands."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

REPOSITORY = Path(__file__).parents[1]


Done: TypeAlias = "subprocess.CompletedProcess[str]"


def run(*command: str, environment: dict[str, str] | None = None, check: bool = True) -> Done:
    """A command's output; where it fails, its last words are the error's."""
    done = subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | (environment or {}), capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}\n→ {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")
    return done


def docker(*arguments: str, check: bool = True) -> str:
    """Standard output of `docker …`."""
    return run("docker", *arguments, check=check).stdout.strip()


def inspect(name: str) -> Any:
    """What Docker knows of a container or image."""
    return json.loads(docker("inspect", name))[0]


def compose_command() -> list[str]:
    """Docker's plugin, or the program that stands alone."""
    if not run("docker", "compose", "version", check=False).returncode:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise SystemExit("neither `docker compose` nor docker-compose is there: install Docker Compose 2.24 or newer")


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Project:
    """Profiles of docker-compose.yml under a name and at a port of their own, apart from what else runs here."""

    profiles: tuple[str, ...]
    name: str = "kshot-check"
    environment: dict[str, str] = field(default_factory=dict)

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Standard output of `docker compose …`."""
        options = [option for profile in self.profiles for option in ("--profile", profile)]
        return run(
            *compose_command(), "--project-name", self.name, *options, *arguments,
            environment=self.environment, check=check,
        ).stdout.strip()  # fmt: skip

    def up(self, *services: str) -> None:
        """Start, and wait until all is healthy."""
        self.compose("up", "--wait", "--wait-timeout", "240", "--no-build", *services)

    def containers(self, service: str) -> list[str]:
        """The ids of those that run."""
        return self.compose("ps", "--quiet", service).split()

    def key(self, service: str) -> str:
        """The one that was made at the first start."""
        return docker("exec", self.containers(service)[0], "cat", "/data/key")


@contextlib.contextmanager
def project(*profiles: str, **environment: str) -> Iterator[Project]:
    """A project that is gone afterwards, volumes and all; where it failed, its logs are told."""
    made = Project(profiles, environment=environment)
    try:
        yield made
    except BaseException:
        print(
            made.compose("ps", "--all", check=False), made.compose("logs", "--tail", "40", check=False), file=sys.stderr
        )
        raise
    finally:
        made.compose("down", "--volumes", "--timeout", "5", check=False)


def until(condition: Any, *, seconds: float, what: str) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)
