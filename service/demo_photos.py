"""Real photos for the demonstration: pieces of those that come with scikit-learn and matplotlib."""

from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from meta_core.errors import MissingExtra
from service.demo_calls import classify, create, jpeg

_SHOTS, _GRID = 5, (4, 4)
_SMALLEST = 60
"""Seen pieces must show something: the spread of grey values over which a piece is not bare sky."""


class Piece(NamedTuple):
    """A part of a photo, as a JPEG in base64, and which photo's."""

    label: str
    image: str


def photos_demo(console: Console, client: httpx.Client) -> bool:
    """Adapt the default model to pieces of two photos; ask other pieces, and some of a third photo: none of these.

    Returns:
        Whether it did well: most right, and strangers thought likelier to be none of these than the others.
    """
    shown, asked, strangers = _pieces()
    classifier, seconds = create(client, [piece._asdict() for piece in shown])
    console.print(
        f"\nPOST /v1/classifiers with {len(shown)} pieces of two photos → [bold]{classifier['id']}[/] by "
        f"{classifier['model']}, the default model, in {seconds * 1000:.0f} ms"
    )
    answer, seconds = classify(client, classifier, [piece.image for piece in (*asked, *strangers)])
    known, others = answer["results"][: len(asked)], answer["results"][len(asked) :]
    likeliest = [result["predictions"][0]["label"] for result in known]
    right = sum(said == piece.label for said, piece in zip(likeliest, asked, strict=True))
    console.print(f"POST …/classify with {len(answer['results'])} other pieces, in {seconds * 1000:.0f} ms")
    console.print(_table(asked, known, strangers, others))
    _tell(console, classifier["report"])
    console.print(f"[bold]pieces of the two photos told right: {right} of {len(asked)}[/]")
    return right > 0.8 * len(asked) and _none(others) > _none(known)


def _pieces() -> tuple[list[Piece], list[Piece], list[Piece]]:
    """Examples, queries, and strangers."""
    try:
        from matplotlib import cbook
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise MissingExtra(f"the demo classifies {error.name}'s photos; install kshot[demo]") from error
    found = load_sample_images()
    photos = {Path(name).stem: image for name, image in zip(found.filenames, found.images, strict=True)}
    third = np.asarray(Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB"))
    shown, asked = [], []
    for label, photo in photos.items():
        pieces = _cut(photo, label)
        shown += pieces[:_SHOTS]
        asked += pieces[_SHOTS:]
    return shown, asked, _cut(third, "someone else")


def _cut(photo: NDArray[np.uint8], label: str) -> list[Piece]:
    """Pieces of a grid, in an order of a fixed seed, without the empty ones."""
    rows, columns = (np.array_split(np.arange(side), parts) for side, parts in zip(photo.shape, _GRID, strict=False))
    pieces = [photo[np.ix_(down, across)] for down in rows for across in columns]
    pieces = [piece for piece in pieces if np.ptp(np.percentile(piece, (5, 95))) > _SMALLEST]
    order = np.random.default_rng(0).permutation(len(pieces))
    return [Piece(label, jpeg(pieces[place])) for place in order]


def _none(results: list[dict[str, Any]]) -> float:
    return float(np.mean([result["none_probability"] or 0 for result in results]))


def _table(
    asked: list[Piece], known: list[dict[str, Any]], strangers: list[Piece], others: list[dict[str, Any]]
) -> Table:
    table = Table("a piece of", "answered", "confidence", "none of these", title_justify="left")
    pairs = [*zip(asked, known, strict=True), *list(zip(strangers, others, strict=True))[:5]]
    for piece, result in pairs:
        said = result["prediction"] or "none of these"
        wrong = said not in (piece.label, "none of these")
        table.add_row(
            piece.label,
            f"[red]{said}[/]" if wrong else said,
            f"{100 * result['confidence']:.0f} %",
            "" if result["none_probability"] is None else f"{100 * result['none_probability']:.0f} %",
        )
    return table


def _tell(console: Console, report: dict[str, Any]) -> None:
    """The report on the examples, in words."""
    accuracy = report["leave_one_out_accuracy"]
    console.print(
        "report on the examples: "
        + ("too few to leave one out" if accuracy is None else f"{100 * accuracy:.0f} % right when left out in turn")
        + f", {len(report['mislabelled'] or [])} look mislabelled, {len(report['duplicates'])} groups of duplicates"
    )
    for few in report["too_few_shots"]:
        console.print(f"  {few['label']!r} has only {few['shots']} example(s)")
    for note in report["notes"]:
        console.print(f"  {note}")
