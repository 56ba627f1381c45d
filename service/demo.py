"""The demonstration: a service of its own, real handwritten digits and photos, real HTTP."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from numpy.typing import NDArray
from rich.columns import Columns
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from meta_core.errors import MissingExtra
from service.demo_calls import classify, create, png, timed
from service.demo_photos import photos_demo

_SHOTS, _QUERIES, _SHOWN = 5, 20, 10


class ServiceDidNotStart(ValueError):
    """The demonstration's own service; its log stands behind."""


class Digits(NamedTuple):
    """Labelled digits: pictures (N, 8, 8) uint8, bright ink."""

    images: NDArray[np.uint8]
    labels: list[str]


def run_demo() -> int:
    """Start the service and use it on digits, then on photos; print what it says; the exit code."""
    console = Console(soft_wrap=True)
    with running_service(console) as client:
        well = [_digits_demo(console, client), photos_demo(console, client)]
    return 0 if all(well) else 1


def _digits_demo(console: Console, client: httpx.Client) -> bool:
    """Adapt to 5 pictures of each digit, classify 200 others; whether it did well."""
    support, queries = _digits()
    classifier, seconds = create(client, _examples(support), model="auto")
    console.print(
        f"POST /v1/classifiers with {len(support.labels)} pictures of 10 digits → "
        f"[bold]{classifier['id']}[/] in {seconds * 1000:.0f} ms"
    )
    console.print(f"by {classifier['model']}, which never saw a digit; {classifier['model_choice']['reason']}")
    images = [png(image) for image in queries.images]
    answer, seconds = classify(client, classifier, images)
    console.print(f"POST …/classify with {len(queries.labels)} pictures, in {seconds * 1000:.0f} ms")
    once, _ = timed(client, "/v1/classify", {"model": "auto", "examples": _examples(support), "images": images})
    predictions = [_likeliest(result) for result in answer["results"]]
    right = sum(said == true for said, true in zip(predictions, queries.labels, strict=True))
    _show(console, queries, answer["results"])
    same = predictions == [_likeliest(result) for result in once["results"]]
    console.print(f"the stateless call gives the same answers: {'yes' if same else 'NO'}")
    console.print(
        f"[bold]10-way {_SHOTS}-shot accuracy on real handwritten digits: {100 * right / len(predictions):.1f} %[/] "
        f"({right} of {len(predictions)}; guessing gets 10 %)"
    )
    return same and right > len(predictions) / 2


def _likeliest(result: dict[str, Any]) -> str:
    label: str = result["predictions"][0]["label"]
    return label


def _digits() -> tuple[Digits, Digits]:
    """Support and queries out of scikit-learn's 1,797 digits, drawn by a fixed seed."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra(f"the demo classifies {error.name}'s digits; install kshot[demo]") from error
    data = load_digits()
    images, labels = np.rint(data.images * (255 / 16)).astype(np.uint8), data.target
    generator = np.random.default_rng(0)
    drawn = [generator.choice(np.flatnonzero(labels == digit), _SHOTS + _QUERIES, replace=False) for digit in range(10)]

    def part(rows: slice) -> Digits:
        chosen = np.concatenate([row[rows] for row in drawn])
        return Digits(images[chosen], [str(label) for label in labels[chosen]])

    return part(slice(None, _SHOTS)), part(slice(_SHOTS, None))


@contextlib.contextmanager
def running_service(console: Console, *, options: Sequence[str] = (), **environment: str) -> Iterator[httpx.Client]:
    """`kshot serve` as its own process on a free port, with a data folder that is deleted after."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="kshot-demo-") as folder:
        command = [
            sys.executable,
            "-m",
            "service",
            "serve",
            "--port",
            str(port),
            "--data-dir",
            f"{folder}/data",
            *options,
        ]
        log = Path(folder) / "log"
        with log.open("wb") as output:
            server = subprocess.Popen(  # noqa: S603 (our own interpreter)
                command, stdout=output, stderr=output, env=os.environ | environment
            )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                with console.status(f"starting kshot {' '.join(command[3:])}"):
                    _wait_until_ready(client, server, log)
                console.print(f"kshot serve answers on {client.base_url}")
                yield client
        finally:
            server.terminate()
            server.wait(timeout=60)


def _wait_until_ready(client: httpx.Client, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline, said = time.monotonic() + 60, "no answer"
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            answer = client.get("/readyz")
            if answer.is_success:
                return
            said = answer.json()["detail"]
        time.sleep(0.1)
    raise ServiceDidNotStart(f"the service did not become ready: {said}\n{log.read_text('utf-8')[-2000:]}")


def _examples(digits: Digits) -> list[dict[str, str]]:
    pairs = zip(digits.images, digits.labels, strict=True)
    return [{"label": label, "image": png(image)} for image, label in pairs]


def _show(console: Console, queries: Digits, results: Sequence[dict[str, Any]]) -> None:
    """A few answers beside their pictures, a mistake among them if there is one."""
    order = [_QUERIES * digit for digit in range(10)]
    wrong = [n for n, result in enumerate(results) if _likeliest(result) != queries.labels[n]]
    chosen = sorted({*order[: _SHOWN - len(wrong[:2])], *wrong[:2]})
    tiles = [Group(_drawing(queries.images[n]), _caption(queries.labels[n], results[n])) for n in chosen]
    console.print(Columns(tiles, padding=(1, 3)))


def _drawing(image: NDArray[np.uint8]) -> Text:
    """Shades of grey in characters, which also come through a pipe."""
    shades = " ░▒▓█"
    return Text("\n".join("".join(2 * shades[value * 5 // 256] for value in row) for row in image.tolist()))


def _caption(true: str, result: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 1))
    for prediction in result["predictions"][:2]:
        right = prediction["label"] == true
        mark = Text("✓" if right else "✗", style="green" if right else "red")
        table.add_row(mark, prediction["label"], f"{100 * prediction['probability']:.0f} %")
    return table
