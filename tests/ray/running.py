"""`kshot serve --engine ray`, with a Ray of its own that leaves nothing behind."""

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.service.postgres import Server
from tests.service.running import REPOSITORY, Service, drawings, free_port

REPLICAS = 2


@contextlib.contextmanager
def running_on_ray(
    folder: Path,
    *,
    postgres: Server,
    every: bool = False,
    models_dir: Path | None = None,
    database_url: str | None = None,
    **environment: str,
) -> Iterator[Service]:
    """Two replicas; when the block is over they are asked to end, and then no process and no file of Ray is there."""
    log, port = folder / "ray.log", free_port()
    command = [sys.executable, "-m", "service", "serve", "--engine", "ray", "--replicas", str(REPLICAS)]
    command += ["--port", str(port), "--models-dir", str(models_dir or drawings(every=every)), "--device", "cpu"]
    # Ray's sockets do not fit into paths as long as pytest's.
    with tempfile.TemporaryDirectory(prefix="kr-") as temporary:
        variables = {
            "HOME": temporary,
            "TMPDIR": temporary,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "KSHOT_DATABASE_URL": database_url or postgres.new_database(),
            "KSHOT_DEFAULT_MODEL": "omniglot-protonet",
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=REPOSITORY, env={**os.environ, **variables, **environment}
            )
        service = Service(process, f"http://127.0.0.1:{port}", log)
        try:
            wait_for_replicas(service)
            family = set(_family(process))
            yield service
            family.update(_family(process))  # those that were replaced, and those that replaced them
            assert service.stop() == 0, log.read_text()[-3000:]
            _, alive = psutil.wait_procs(list(family), timeout=20)
            assert not alive, alive
            left = [file.name for file in Path(temporary).iterdir()]
            assert not [name for name in left if "ray" in name], left
        finally:
            _end(process)


def replicas(service: Service) -> list[psutil.Process]:
    """The replicas' processes."""
    found = []
    for child in _family(service.process):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.cmdline()[:1] and child.cmdline()[0].startswith("ray::ServeReplica:kshot"):
                found.append(child)
    return found


def wait_for_replicas(service: Service, *, seconds: float = 200) -> None:
    """Until all are there that were asked for, and Ray says so."""
    deadline = time.monotonic() + seconds
    while "is ready at" not in service.log.read_text() or len(replicas(service)) < REPLICAS:
        assert time.monotonic() < deadline, service.log.read_text()[-3000:]
        assert service.process.poll() is None, service.log.read_text()[-3000:]
        time.sleep(0.5)


def _family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """What it started; nothing where a test has ended it already."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def _end(process: "subprocess.Popen[bytes]") -> None:
    """After a failure: whatever is still there."""
    if process.poll() is None:
        for each in (*_family(process), process):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(timeout=30)
