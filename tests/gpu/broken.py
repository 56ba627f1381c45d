"""The service as `kshot` runs it, but that after SIGUSR1 a kernel fails an assertion, which ends the CUDA context."""

import signal
from types import FrameType
from typing import Any

import torch

from service import engine
from service.cli import app

ASKED: list[int] = []


def work(*arguments: Any) -> Any:
    if ASKED:
        torch.zeros(4, device="cuda")[torch.tensor([1 << 20], device="cuda")]  # past the end: the kernel asserts
    return REAL(*arguments)


def ask(signum: int, _: FrameType | None) -> None:
    ASKED.append(signum)


if __name__ == "__main__":
    REAL = engine.work
    engine.work = work
    signal.signal(signal.SIGUSR1, ask)
    app()
