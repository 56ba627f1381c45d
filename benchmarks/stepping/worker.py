"""One contestant's process: waits for a line of JSON, does what it says, answers with a line; else it does nothing.

    python -m stepping.worker PACKAGE FILE CORES

A contestant is made by `build(settings, tensors)` of a module `PACKAGE.with_NAME`. FILE holds the tensors that all are
given (safetensors); the process stays on the first CORES processor cores.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Answer = dict[str, Any]


class Contestant(Protocol):
    """Who takes steps. What else it can be asked for, by name, returns tensors by name."""

    def step(self) -> None:
        """What is timed."""

    def gradient(self) -> dict[str, Tensor]:
        """By the weights' names in the common file."""


class Worker:
    """What a process does when told.

    Args:
        package: of the contestants.
        file: of the tensors that all are given.
    """

    def __init__(self, package: str, file: str) -> None:
        self._package, self._tensors = package, load_file(file)
        self._contestant: Contestant | None = None
        self.verbs: dict[str, Callable[[Answer], Answer]] = {
            "versions": self.versions,
            "set": self.set,
            "step": self.step,
            "tell": self.tell,
            "multiply": self.multiply,
        }

    def versions(self, message: Answer) -> Answer:
        """Of torch and of the packages named."""
        from importlib.metadata import version

        return {name: version(name) for name in ["torch", *message["packages"]]}

    def set(self, message: Answer) -> Answer:
        """Be this contestant from now on."""
        settings = message["settings"]
        torch.set_num_threads(settings["threads"])
        close = getattr(self._contestant, "close", None)
        if close is not None:
            close()
        module = importlib.import_module(f"{self._package}.with_{settings['contestant']}")
        self._contestant = module.build(settings, self._tensors)
        return {}

    def step(self, message: Answer) -> Answer:  # noqa: ARG002
        """One step's wall time and the processor time of all its threads."""
        assert self._contestant is not None
        wall, processor = time.perf_counter(), time.process_time()
        self._contestant.step()
        return {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}

    def tell(self, message: Answer) -> Answer:
        """Write what the contestant's method of that name returns to a file."""
        found = getattr(self._contestant, message["what"])()
        save_file({name: value.contiguous() for name, value in found.items()}, message["file"])
        return {}

    def multiply(self, message: Answer) -> Answer:
        """Seconds of a product of two square matrices, the best of three."""
        torch.set_num_threads(message["threads"])
        left, right = torch.randn(2, message["size"], message["size"])
        seconds = []
        for _ in range(4):
            begun = time.perf_counter()
            torch.mm(left, right)
            seconds.append(time.perf_counter() - begun)
        return {"seconds": min(seconds)}


def main() -> None:
    """Answer until the pipe is closed."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[3])])
    answers = _take_stdout()
    worker = Worker(sys.argv[1], sys.argv[2])
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = worker.verbs[message["do"]](message)
        except Exception as error:  # whatever a peer raises goes to the parent, which reports it
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _take_stdout() -> TextIO:
    """The pipe to the parent; what a library prints goes to stderr from now on."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return pipe


if __name__ == "__main__":
    main()
