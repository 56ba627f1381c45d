"""The floor: decoding alone and encoding alone, all cores on it, with the fastest batch and share of threads.

    python -m benchmarks.serving.floor FOLDER SECONDS [BATCH SESSIONS] < pictures as JSON

FOLDER is a model's; with BATCH and SESSIONS that way is timed, else all are tried. No HTTP, no batching by requests, no
normalization, no head: what is left is what any server must do with these decoders and this runtime.
"""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.serving import pinned
from benchmarks.serving.figures import floor_per_second

_BATCHES = (1, 2, 4, 8, 16, 32)
_DECODED = 8
"""Different pictures."""


class Floor(NamedTuple):
    """Of one picture, all cores on it.

    Attributes:
        decode_seconds: JPEG → the model's uint8 array.
        forward_seconds: encoding.
        batch: pictures of the fastest forward pass.
        sessions: that ran at once, each with its share of the cores as threads.
    """

    decode_seconds: float
    forward_seconds: float
    batch: int
    sessions: int

    def per_second(self, *, pictures: int = 1) -> float:
        """Requests of so many pictures."""
        return floor_per_second(
            decode_seconds=self.decode_seconds, forward_seconds=self.forward_seconds, pictures=pictures
        )


def measure(
    model: Path, jpegs: Sequence[bytes], *, seconds: float, cores: frozenset[int], way: Floor | None = None
) -> Floor:
    """In a process of its own on `cores`.

    Args:
        model: a model's folder.
        jpegs: what is decoded.
        seconds: of decoding, and as long of encoding.
        cores: where.
        way: whose batch and sessions are taken; the fastest if not given.
    """
    command = [sys.executable, "-m", "benchmarks.serving.floor", str(model), str(seconds)]
    command += [] if way is None else [str(way.batch), str(way.sessions)]
    pictures = json.dumps([base64.b64encode(each).decode() for each in jpegs[:_DECODED]]).encode()
    with pinned.on(cores):
        done = subprocess.run(command, input=pictures, stdout=subprocess.PIPE, check=True)
    return Floor(**json.loads(done.stdout))


class _Measurement:
    """In the process of its own."""

    def __init__(self, model: Path, jpegs: Sequence[bytes]) -> None:
        from meta_core.checkpoint import ENCODER, read_card
        from meta_core.device import cores

        self._spec, self._encoder, self._cores = read_card(model).input, model / ENCODER, cores()
        self._jpegs = jpegs
        self._pool = ThreadPoolExecutor(self._cores)

    def decode_seconds(self, seconds: float) -> float:
        """Of a picture."""
        from meta_core.preprocess import decode

        return self._each(
            lambda: [decode(jpeg, self._spec) for jpeg in self._jpegs], len(self._jpegs), self._cores, seconds
        )

    def forward_seconds(self, seconds: float, *, batch: int, sessions: int) -> float:
        """Of a picture, `sessions` at once."""
        import numpy as np
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._cores // sessions, 1
        session = onnxruntime.InferenceSession(self._encoder, options, providers=["CPUExecutionProvider"])
        inputs = np.random.default_rng(0).standard_normal((batch, *self._spec.shape), dtype=np.float32)
        return self._each(lambda: session.run(["features"], {"inputs": inputs}), batch, sessions, seconds)

    def best(self, seconds: float) -> tuple[int, int]:
        """The fastest batch and number of sessions."""
        ways = [(batch, sessions) for batch in _BATCHES for sessions in sorted({1, self._cores})]
        return min(ways, key=lambda way: self.forward_seconds(seconds, batch=way[0], sessions=way[1]))

    def _each(self, work: Callable[[], object], pictures: int, threads: int, seconds: float) -> float:
        """Wall seconds a picture, over all threads; a first round does not count."""

        def until(end: float) -> int:
            rounds = 0
            while time.perf_counter() < end or not rounds:
                work()
                rounds += 1
            return rounds

        list(self._pool.map(until, [0.0] * threads))
        began = time.perf_counter()
        rounds = sum(self._pool.map(until, [began + seconds] * threads))
        return (time.perf_counter() - began) / (rounds * pictures)


def main(model: str, seconds: str, *way: str) -> None:
    """Measure and write JSON."""
    measurement = _Measurement(Path(model), [base64.b64decode(each) for each in json.load(sys.stdin)])
    batch, sessions = (int(each) for each in way) if way else measurement.best(float(seconds) / 8)
    found = Floor(
        measurement.decode_seconds(float(seconds)),
        measurement.forward_seconds(float(seconds), batch=batch, sessions=sessions),
        batch,
        sessions,
    )
    sys.stdout.write(json.dumps(found._asdict()))


if __name__ == "__main__":
    main(*sys.argv[1:])
