"""Adapt to 5 × 5 photos and classify 15 in one call over HTTP: capacity, and latency at 70 % of it.

Once with JPEGs of 640×480, which the processor has to decode, and once with pictures that are decoded already: bitmaps
(BMP) of the model's own size, which cost it next to nothing.
"""

import base64
import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.gpu.part import Found, Plan, Verdict
from benchmarks.photo_request import photos
from benchmarks.serving import pinned, wire
from benchmarks.serving.loading import Load
from benchmarks.serving.running import HOST, kshot
from benchmarks.serving.settings import SHOTS, WAYS
from meta_core.checkpoint import read_card
from service.demo_calls import jpeg

MODEL, QUERIES, SHARE, MOST_MS = "photos", 15, 0.7, 25.0
_MODELS = Path(__file__).parents[2] / "models"
_CLIENTS, _DIFFERENT = 32, 4
_PATH = "/v1/classify/upload"


def measure(plan: Plan) -> Found:
    """A closed loop finds the capacity, an open one asks at 70 % of it: each request timed from when it was due."""
    kinds = {"decoded (BMP of the model's size)": _bitmaps(), "JPEG, 640×480": _jpegs()}
    figures = {name: _asked(pictures, plan) for name, pictures in kinds.items()}
    rows = [
        [name, *(f"{each[key]:.1f}" for key in ("capacity", "alone", "p50", "p99")), f"{each['errors']:.1%}"]
        for name, each in figures.items()
    ]
    verdicts = [
        Verdict(
            f"{name}: p99 of at most {MOST_MS:g} ms at {SHARE:.0%} of capacity wanted, {each['p99']:.1f} ms came",
            each["p99"] <= MOST_MS and not each["errors"],
        )
        for name, each in figures.items()
    ]
    title = f"Adapt to {WAYS} × {SHOTS} photos and classify {QUERIES}, `{MODEL}`, over HTTP"
    columns = [
        "pictures",
        "calls a second",
        "alone, ms",
        f"p50 at {SHARE:.0%}, ms",
        f"p99 at {SHARE:.0%}, ms",
        "errors",
    ]
    return Found(title, columns, rows, figures, verdicts)


def _asked(pictures: Sequence[bytes], plan: Plan) -> dict[str, Any]:
    cores = _cores()
    with _served(cores, plan.device) as port:
        requests = [wire.prepared(HOST, port, _PATH, _form(pictures, number)) for number in range(_DIFFERENT)]
        load = Load(port, requests, cores=cores.generator)
        clients = 2 if plan.tiny else _CLIENTS
        load.closed(clients, seconds=plan.seconds / 2)
        alone, crowd = load.closed(1, seconds=plan.seconds / 2), load.closed(clients, seconds=plan.seconds)
        due = load.open(max(1.0, SHARE * crowd.per_second), seconds=2 * plan.seconds)
    found = {"capacity": crowd.per_second, "alone": alone.p50, "p50": due.p50, "p99": due.p99, "errors": due.errors}
    return found | {"closed": crowd.as_json(), "open": due.as_json()}


@contextlib.contextmanager
def _served(cores: pinned.Cores, device: str) -> Iterator[int]:
    with tempfile.TemporaryDirectory(prefix="kshot-bench-") as folder:
        (Path(folder) / MODEL).symlink_to(_MODELS / MODEL)
        with kshot(Path(folder), cores=cores.server, device=device) as port:
            yield port


def _cores() -> pinned.Cores:
    """Three quarters for the server where there are several, the rest for the load."""
    usable = len(os.sched_getaffinity(0))
    return pinned.share_out(max(1, 3 * usable // 4) if usable > 2 else usable)


def _form(pictures: Sequence[bytes], number: int) -> wire.Form:
    """The `number`-th body: the same pictures in another order."""
    turned = [*pictures[number:], *pictures[:number]]
    queries = [wire.Part("queries", picture) for picture in turned[WAYS * SHOTS :]]
    support = wire.support_set(turned[: WAYS * SHOTS], field="support")
    return wire.multipart([*support, *queries, wire.Part("model", MODEL.encode(), file=False)])


def _jpegs() -> list[bytes]:
    return [base64.b64decode(jpeg(picture)) for picture in photos(WAYS * SHOTS + QUERIES)]


def _bitmaps() -> list[bytes]:
    spec = read_card(_MODELS / MODEL).input
    made = []
    for picture in photos(WAYS * SHOTS + QUERIES):
        buffer = io.BytesIO()
        Image.fromarray(picture).resize((spec.width, spec.height)).save(buffer, "bmp")
        made.append(buffer.getvalue())
    return made
