"""A CUDA context that really breaks: the request is told, readiness withdrawn, the process ends for its supervisor."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.service.running import REPOSITORY, Service, b64, digits, drawings, examples, free_port, wait_until_ready

pytestmark = pytest.mark.gpu


def test_requests_are_told_and_the_process_ends_not_with_success(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "tests.gpu.broken", "serve", "--port", str(port)]
    command += ["--data-dir", str(tmp_path / "data"), "--models-dir", str(drawings()), "--device", "cuda"]
    settings = os.environ | {"KSHOT_DEFAULT_MODEL": "omniglot-protonet"}
    body = {"examples": examples(digits(3, labels=(1, 2))), "images": [b64(digits(1, start=20)[0][1])]}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=REPOSITORY, env=settings)
    service = Service(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until_ready(service)
        with service.client() as client:
            assert client.post("/v1/classify", json=body).status_code == 200
            process.send_signal(signal.SIGUSR1)
            answer = client.post("/v1/classify", json=body)
            assert (answer.status_code, answer.json()["code"]) == (503, "device_lost")
            assert "retry-after" in answer.headers
            with contextlib.suppress(httpx.TransportError):  # it may be gone already
                assert client.get("/readyz").status_code == 503
        assert process.wait(timeout=60) != 0
    finally:
        if process.poll() is None:
            service.kill()
    assert "the device is lost" in log.read_text()
