"""A service in a process of its own, as a user runs it, and pictures to send it."""

import atexit
import base64
import contextlib
import functools
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from starlette.types import ASGIApp

REPOSITORY = Path(__file__).parents[2]
MODELS = REPOSITORY / "models"


@dataclass
class Service:
    """A running service."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def client(self, timeout_seconds: float = 60) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=timeout_seconds)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=60)


@functools.cache
def drawings(*, every: bool = False) -> Path:
    """A folder of the shipped model for drawings that most tests ask, or of all of them: each takes time to load."""
    folder = Path(tempfile.mkdtemp(prefix="kshot-models-"))
    atexit.register(shutil.rmtree, folder)
    for model in MODELS.glob("omniglot-*" if every else "omniglot-protonet"):
        (folder / model.name).symlink_to(model)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    data_dir: Path,
    *,
    models_dir: Path | None = None,
    every: bool = False,
    wait: bool = True,
    port: int | None = None,
    device: str = "cpu",
    **environment: str,
) -> Service:
    """`kshot serve`, on a free port; with one model for drawings, or `every` one, if not told otherwise."""
    # Beside other tests there are fewer cores than threads, where OpenMP's busy waiting takes ten times as long.
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | environment
    if models_dir is None:
        models_dir = drawings(every=every)
        environment = {"KSHOT_DEFAULT_MODEL": "omniglot-protonet"} | environment
    port = port or free_port()
    log = data_dir.with_name(f"{data_dir.name}-{port}.log")
    command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
    command += ["--data-dir", str(data_dir), "--models-dir", str(models_dir), "--device", device]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=REPOSITORY, env={**os.environ, **environment}
        )
    service = Service(process, f"http://127.0.0.1:{port}", log)
    try:
        if wait:
            wait_until_ready(service)
    except AssertionError:
        service.kill()
        raise
    return service


def wait_until_ready(service: Service, *, path: str = "/readyz", seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and service.process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{service.url}{path}").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"{path} not 200 after {seconds} s:\n{service.log.read_text()[-3000:]}")


@contextlib.contextmanager
def running(data_dir: Path, **options: Any) -> Iterator[Service]:
    service = start(data_dir, **options)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.wait(timeout=30)


@contextlib.contextmanager
def serving(app: ASGIApp, *, root_path: str = "") -> Iterator[str]:
    """The address of an app that is served from a thread of this process, on a real socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", root_path=root_path, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=20)


def wait_until_answered(client: httpx.Client) -> None:
    """Of an app in this process: until its models are loaded."""
    while client.get("/readyz").status_code != 200:
        time.sleep(0.05)


def png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def digits(count: int, *, start: int = 0, labels: Sequence[int] = tuple(range(10))) -> list[tuple[str, bytes]]:
    """`count` real handwritten digits of each label, from number `start`: (label, PNG)."""
    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)
    return [
        (str(label), png(images[index]))
        for label in labels
        for index in np.flatnonzero(data.target == label)[start : start + count]
    ]


def examples(pairs: Sequence[tuple[str, bytes]]) -> list[dict[str, str]]:
    return [{"label": label, "image": b64(data)} for label, data in pairs]


def probabilities(answer: dict[str, Any]) -> list[dict[str, float]]:
    """Label → probability of each result."""
    return [{item["label"]: item["probability"] for item in result["predictions"]} for result in answer["results"]]


def assert_same(first: list[dict[str, float]], second: list[dict[str, float]], *, tolerance: float = 1e-5) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        assert max(abs(one[label] - other[label]) for label in one) <= tolerance
