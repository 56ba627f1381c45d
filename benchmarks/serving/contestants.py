"""Who takes part: how each is started, asked and understood."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.serving.settings import WAYS

OURS: Final = "kshot"
_PEERS = Path(__file__).parent / "peers"


class Engine(NamedTuple):
    """A serving engine.

    Attributes:
        environment: of `environments.peers_python`; None for kshot's own.
        program: what follows the interpreter, in `peers/`.
        path: where pictures are sent.
        field: of the form that holds the picture; None where the picture is the body.
        workers: how many processes may compute, each with its share of the cores as threads; the fastest is taken.
        packages: whose versions are told.
        counts: whether it is a peer to be compared with; else a reference.
        variables: of its environment.
    """

    environment: str
    program: tuple[str, ...]
    path: str
    field: str | None
    workers: tuple[int, ...]
    packages: tuple[str, ...]
    counts: bool = True
    variables: tuple[tuple[str, str], ...] = ()


ENGINES: Final[dict[str, Engine]] = {
    "litserve": Engine("engines", ("with_litserve.py",), "/predict", "picture", (1, 2), ("litserve",)),
    "bentoml": Engine(
        "engines",
        ("-m", "bentoml", "serve", "with_bentoml:Classify"),
        "/classify",
        "images",
        (1, 2),
        ("bentoml",),
        variables=(("BENTOML_DO_NOT_TRACK", "True"),),
    ),
    "mosec": Engine("engines", ("with_mosec.py",), "/inference", None, (1, 2), ("mosec",)),
    "ray": Engine(
        "ray",
        ("with_ray.py",),
        "/",
        None,
        (1, 2),
        ("ray",),
        variables=(
            ("RAY_AUTH_MODE", "disabled"),
            ("RAY_USAGE_STATS_ENABLED", "0"),
            ("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60"),  # where starting is slow it would kill its own proxy
        ),
    ),
    "fastapi": Engine("engines", ("with_fastapi.py",), "/classify", "file", (1,), ("fastapi", "uvicorn"), counts=False),
}


class Contestant(NamedTuple):
    """An engine and what it computes with.

    Attributes:
        engine: `kshot` or a name of `ENGINES`.
        runtime: `torch`, `onnx`, or `int8`, the last also on ONNX Runtime.
        workers: processes that compute.
    """

    engine: str
    runtime: str = "torch"
    workers: int = 1

    @property
    def how(self) -> str:
        """In tables: what was chosen."""
        if self.engine == OURS:
            return "as `kshot models quantize` makes it, 8 bits" if self.reduced else "as `kshot serve` runs it, fp32"
        runtime = {"torch": "torch", "onnx": "ONNX Runtime", "int8": "ONNX Runtime, 8 bits"}[self.runtime]
        batching = "no batching" if not ENGINES[self.engine].counts else "batches"
        return f"{runtime}, {self.workers} worker{'s' if self.workers > 1 else ''}, {batching}"

    @property
    def reduced(self) -> bool:
        """Whether it computes in 8-bit integers."""
        return self.runtime == "int8"

    @property
    def path(self) -> str:
        """Where a peer is asked."""
        return ENGINES[self.engine].path

    @property
    def field(self) -> str | None:
        """The form's field, or None for a raw body."""
        return "files" if self.engine == OURS else ENGINES[self.engine].field

    def program(self, python: dict[str, Path]) -> tuple[list[str], Path | None, dict[str, str]]:
        """Command, working folder and environment variables of a peer; the folder and port are told by `running`."""
        engine = ENGINES[self.engine]
        variables = {"BENCH_RUNTIME": self.runtime, "BENCH_WORKERS": str(self.workers), **dict(engine.variables)}
        return [str(python[engine.environment]), *engine.program], _PEERS, variables

    def probabilities(self, body: bytes) -> list[float]:
        """Of the classes in order, out of an answer."""
        answer = json.loads(body)
        if self.engine == OURS:
            return _by_label(answer["results"][0]["predictions"])
        while isinstance(answer, dict):
            (answer,) = answer.values()
        return answer[0] if isinstance(answer[0], list) else answer


def ways_of(engine: str) -> Iterator[Contestant]:
    """A peer's documented ways on torch, of which the fastest is taken."""
    for workers in ENGINES[engine].workers:
        yield Contestant(engine, workers=workers)


def label(number: int) -> str:
    """Of a class."""
    return f"label {number}"


def _by_label(predictions: list[dict[str, Any]]) -> list[float]:
    found = {each["label"]: each["probability"] for each in predictions}
    return [found[label(number)] for number in range(WAYS)]
