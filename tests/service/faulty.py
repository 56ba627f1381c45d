"""The service as `kshot` runs it, but that SIGUSR1 makes its device fail at the next call: no GPU can be pulled out."""

import signal
from types import FrameType
from typing import Any

import torch

from service import engine
from service.cli import app

BROKEN: list[int] = []


def work(*arguments: Any) -> Any:
    if BROKEN:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")
    return REAL(*arguments)


def break_device(signum: int, _: FrameType | None) -> None:
    BROKEN.append(signum)


if __name__ == "__main__":
    REAL = engine.work
    engine.work = work
    signal.signal(signal.SIGUSR1, break_device)
    app()
