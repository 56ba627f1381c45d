"""A serving process that dies under load, or whose device fails, is soon another; nothing acknowledged is lost."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import psutil
import pytest

from tests.service.histories import Contradiction, Writer
from tests.service.running import REPOSITORY, Service, drawings, free_port, wait_until_ready

WRITERS = 4


def keeping(command: Sequence[str]) -> str:
    """A program that keeps a command alive."""
    return f"import sys; from service.supervisor import Supervisor; sys.exit(Supervisor({list(command)!r}).run())"


@contextlib.contextmanager
def supervised(data: Path) -> Iterator[Service]:
    """A supervisor, and the service that it keeps alive."""
    port, log = free_port(), data.with_name("log")
    serve = [sys.executable, "-m", "tests.service.faulty", "serve", "--port", str(port), "--data-dir", str(data)]
    settings = {"KSHOT_MODELS_DIR": str(drawings()), "KSHOT_DEFAULT_MODEL": "omniglot-protonet", "KSHOT_DEVICE": "cpu"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", keeping(serve)],
            stdout=output,
            stderr=output,
            cwd=REPOSITORY,
            env=os.environ | settings,
        )
    service = Service(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until_ready(service)
        yield service
    finally:
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            service.kill()
            for child in children:
                child.kill()


def serving(service: Service) -> psutil.Process:
    (child,) = psutil.Process(service.process.pid).children()
    return child


@pytest.mark.faults
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGUSR1], ids=["killed", "the device fails"])
def test_under_load_the_service_is_ready_again_within_ten_seconds(tmp_path: Path, fault: signal.Signals) -> None:
    with supervised(tmp_path / "data") as service:
        writers = [Writer(seed, []) for seed in range(WRITERS)]
        told: list[str] = []

        def write(writer: Writer) -> None:
            with service.client() as client:
                writer.clients = [client]
                try:
                    while True:
                        writer.step()
                except httpx.TransportError:
                    return
                except Contradiction as error:
                    told.append(str(error))

        threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
        for thread in threads:
            thread.start()
        time.sleep(3)
        first = serving(service)
        first.send_signal(fault)
        began = time.monotonic()
        first.wait(timeout=10)
        wait_until_ready(service)
        again_seconds = time.monotonic() - began
        for thread in threads:
            thread.join()
        with service.client() as client:
            for writer in writers:
                writer.clients = [client]
                writer.settle()
                writer.check()
        assert serving(service).pid != first.pid
    acknowledged = sum(writer.acknowledged for writer in writers)
    print(f"{fault.name}: ready again after {again_seconds:.1f} s; {acknowledged} acknowledged changes, none lost")
    assert again_seconds < 10
    if fault == signal.SIGUSR1:
        assert told, "requests in flight were told"
        assert all("503" in each and "device_lost" in each for each in told), told
    else:
        assert not told


def run(*command: str) -> tuple[int, float]:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", keeping(command)], cwd=REPOSITORY, capture_output=True, check=False, timeout=60
    )
    return done.returncode, time.monotonic() - began


def test_what_dies_is_started_again_until_it_ends_well(tmp_path: Path) -> None:
    counter = tmp_path / "starts"
    program = (
        f"import os, pathlib; path = pathlib.Path({str(counter)!r}); "
        "count = len(path.read_text()) if path.exists() else 0; path.write_text('x' * (count + 1)); "
        "os._exit(0) if count == 2 else os.kill(os.getpid(), 9)"
    )
    status, _ = run(sys.executable, "-c", program)
    assert status == 0
    assert counter.read_text() == "xxx"


def test_what_cannot_start_is_not_started_again_and_again() -> None:
    assert run(sys.executable, "-c", "raise SystemExit(2)")[0] == 2


def test_asked_to_end_it_ends_what_it_keeps_alive(tmp_path: Path) -> None:
    with supervised(tmp_path / "data") as service:
        child = serving(service)
        assert service.stop() == 0
        assert not child.is_running()
