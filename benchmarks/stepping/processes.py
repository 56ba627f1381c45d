"""The contestants' processes as the benchmark sees them: each waits on a pipe unless it was asked for something."""

import json
import os
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file
from torch import Tensor

MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34), "MALLOC_ARENA_MAX": "1"}
"""glibc keeps the memory of large tensors instead of giving it back and having it zeroed again, page by page: for every
contestant alike, and worth about a tenth to each."""


if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class WorkerFailed(Exception):
    """A contestant could not do what it was asked for."""


class Process:
    """One contestant's process.

    Args:
        name: the contestant's.
        package: of the contestants' modules.
        python: interpreter of its environment.
        file: of the tensors that all are given.
        cores: how many processor cores it may run on, the same for all.
        keep_memory: set `MALLOC`.
    """

    def __init__(self, name: str, *, package: str, python: Path, file: Path, cores: int, keep_memory: bool) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [python, "-m", "stepping.worker", package, file, str(cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=Path(__file__).parents[1],
            env=os.environ | (MALLOC if keep_memory else {}),
        )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._log.close()

    def ask(self, do: str, **message: Any) -> dict[str, Any]:
        """Send one message and wait for its answer.

        Raises:
            WorkerFailed: with what the process says.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **message}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise WorkerFailed(f"{self.name} ended: {self._log.read()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{self.name}: {answer['error']}")
        return answer

    def become(self, settings: "DataclassInstance") -> None:
        """Compute by these settings from now on."""
        self.ask("set", settings=asdict(settings))

    def seconds(self) -> float:
        """Wall time of one step."""
        return float(self.ask("step")["seconds"])

    def tell(self, what: str) -> dict[str, Tensor]:
        """What the contestant's method of that name returns, in float64."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "told.safetensors"
            self.ask("tell", what=what, file=str(file))
            return {name: value.double() for name, value in load_file(file).items()}
