"""A contestant's server: started on its cores, ready, and stopped with all that it started."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from benchmarks.serving import pinned, wire
from benchmarks.serving.contestants import OURS, Contestant
from benchmarks.serving.prepare import Prepared, reduced_name
from benchmarks.serving.settings import CLIENTS

HOST = "127.0.0.1"
_START_SECONDS, _STOP_SECONDS = 300, 20

# kshot refuses what would wait long; the others let it wait. Remembered, pictures would not be encoded.
KSHOT_VARIABLES = {
    "KSHOT_ENCODED_CACHE_BYTES": "0",
    "KSHOT_LIMITS__WAITING_SECONDS": "60",
    "KSHOT_LIMITS__CLASSIFY_WAITING_SECONDS": "60",
}


class DidNotStart(Exception):
    """A server that ended or does not answer; its log stands behind."""


class Endpoint(NamedTuple):
    """Where a contestant classifies a picture."""

    contestant: Contestant
    port: int
    path: str

    def ask(self, jpegs: Sequence[bytes]) -> list[list[float]]:
        """Probabilities of the classes for each picture, asked for together, so that batches form."""

        def one(jpeg: bytes) -> list[float]:
            form = wire.one_picture(jpeg, field=self.contestant.field)
            answer = client.post(self.path, content=form.content, headers={"Content-Type": form.kind})
            return self.contestant.probabilities(answer.raise_for_status().content)

        with _client(self.port) as client, ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(one, jpegs))

    def request(self, jpeg: bytes) -> bytes:
        """For the load."""
        return wire.prepared(HOST, self.port, self.path, wire.one_picture(jpeg, field=self.contestant.field))


@contextlib.contextmanager
def running(
    contestant: Contestant, prepared: Prepared, *, python: dict[str, Path], cores: frozenset[int]
) -> Iterator[Endpoint]:
    """Serve a network.

    Args:
        contestant: who.
        prepared: what.
        python: interpreters of the peers' environments.
        cores: where.

    Raises:
        DidNotStart: it does not answer.
    """
    if contestant.engine == OURS:
        with kshot(prepared.models, cores=cores) as port:
            model = reduced_name(prepared.network) if contestant.reduced else prepared.network.name
            yield Endpoint(contestant, port, _new_classifier(port, model, prepared))
        return
    command, folder, variables = contestant.program(python)
    port = free_port()
    variables |= {"BENCH_FOLDER": str(prepared.peers), "BENCH_CORES": str(len(cores)), "BENCH_PORT": str(port)}
    command += ["--port", str(port), "--host", HOST] if "serve" in command else []
    with _server(command, cores=cores, folder=folder, variables=variables) as alive:
        endpoint = Endpoint(contestant, port, contestant.path)
        _wait(lambda: endpoint.ask(prepared.pictures.queries[:1]), alive)
        yield endpoint


@contextlib.contextmanager
def kshot(
    models: Path,
    *,
    cores: frozenset[int],
    data: Path | None = None,
    variables: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> Iterator[int]:
    """`kshot serve` of a folder of models, ready; its port.

    Args:
        models: the folder.
        cores: where it runs.
        data: where it stores; a folder that is deleted afterwards if not given.
        variables: of its environment, beside `KSHOT_VARIABLES`.
        device: that it computes on.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="kshot-bench-") as folder:
        command = [sys.executable, "-m", "service", "serve", "--port", str(port), "--device", device]
        command += ["--models-dir", str(models), "--data-dir", str(data or folder)]
        own = {**KSHOT_VARIABLES, **(variables or {})}
        with _server(command, cores=cores, folder=None, variables=own) as alive, _client(port) as client:
            _wait(lambda: client.get("/readyz").raise_for_status(), alive)
            yield port


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _new_classifier(port: int, model: str, prepared: Prepared) -> str:
    """Adapt to the support set; the path that classifies files."""
    parts = wire.support_set(prepared.pictures.support, field="files")
    form = wire.multipart([*parts, wire.Part("model", model.encode(), file=False)])
    with _client(port) as client:
        answer = client.post("/v1/classifiers/upload", content=form.content, headers={"Content-Type": form.kind})
    return f"/v1/classifiers/{answer.raise_for_status().json()['id']}/classify/upload"


def _client(port: int) -> httpx.Client:
    return httpx.Client(base_url=f"http://{HOST}:{port}", timeout=60)


class _Alive(NamedTuple):
    process: "subprocess.Popen[bytes]"
    log: Path


@contextlib.contextmanager
def _server(
    command: list[str], *, cores: frozenset[int], folder: Path | None, variables: dict[str, str]
) -> Iterator[_Alive]:
    with tempfile.TemporaryDirectory(prefix="kshot-bench-") as logs:
        log = Path(logs) / "log"
        with log.open("wb") as output, pinned.on(cores):
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, env=os.environ | variables
            )
        try:
            yield _Alive(process, log)
        finally:
            _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to end, and end what it leaves behind."""
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        _, left = psutil.wait_procs([psutil.Process(process.pid), *started], timeout=_STOP_SECONDS)
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


def _wait(try_it: Callable[[], object], alive: _Alive) -> None:
    until, said = time.monotonic() + _START_SECONDS, "no answer"
    while time.monotonic() < until and alive.process.poll() is None:
        try:
            try_it()
        except httpx.HTTPError as error:
            said = str(error)
        else:
            return
        time.sleep(0.05)
    tail = alive.log.read_text("utf-8", "replace")[-3000:]
    raise DidNotStart(f"the server does not answer: {said}; its log ends:\n{tail}")
