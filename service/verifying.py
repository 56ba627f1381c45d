"""Whether a model's folder is whole and does what its card says, one step after the other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from meta_core.card import Card
from meta_core.checkpoint import load, read_card
from meta_core.errors import InvalidCheckpoint, MetaCoreError
from meta_core.vectors import normalized
from service.encoders import OnnxEncoder
from service.served import ServedModel, serve

MOST_DIFFERENCE = 1e-3
"""Of the largest feature: a deep network in float32 is rounded to about 1e-5."""

Status = Literal["ok", "note", "wrong"]


class Step(NamedTuple):
    """What was looked at, how it is, and what was found, in words."""

    name: Literal["card", "files", "forward", "onnx", "calibration"]
    status: Status
    found: str


def verify(folder: Path, *, device: str, threads: int) -> Iterator[Step]:
    """Look at the card, at every file's SHA-256, at a forward pass, at ONNX beside torch, and at the calibration.

    Nothing is looked at behind a step that is wrong.
    """
    try:
        card = read_card(folder)
        yield Step("card", "ok", f"{card.name} {card.version}")
    except (MetaCoreError, OSError) as error:
        yield Step("card", "wrong", str(error))
        return
    try:
        load(folder)
        yield Step("files", "ok", f"the SHA-256 of {' and '.join(sorted(card.files))} is that of the card")
    except (MetaCoreError, OSError) as error:
        yield Step("files", "wrong", str(error))
        return
    yield from _run(folder, device=device, threads=threads)
    yield _calibration(card)


def compare(model: ServedModel) -> float:
    """By how much ONNX's features differ from torch's, as a share of the largest; not every operator exports right.

    Raises:
        InvalidCheckpoint: by more than rounding.
    """
    spec, generator = model.card.input, torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (3, *spec.shape), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        expected = model.learner.encode(normalized(pictures, spec))
    difference = float((model.encoder.encode(pictures) - expected).abs().max() / expected.abs().max())
    if not difference <= MOST_DIFFERENCE:
        raise InvalidCheckpoint(
            f"{model.card.name}: ONNX Runtime's features differ from torch's by {difference:.1e} of the largest, "
            f"and at most {MOST_DIFFERENCE:g} is rounding; torch cannot export this backbone"
        )
    return difference


def _run(folder: Path, *, device: str, threads: int) -> Iterator[Step]:
    try:
        served = serve(folder, device=device, threads=threads)
    except MetaCoreError as error:
        yield Step("forward", "wrong", str(error))
        return
    try:
        yield Step("forward", "ok", f"encodes, adapts and predicts on {served.encoder.runtime}")
        if isinstance(served.encoder, OnnxEncoder):
            yield Step("onnx", "ok", _encoder(served))
    except MetaCoreError as error:
        yield Step("onnx", "wrong", str(error))
    finally:
        served.close()


def _encoder(served: ServedModel) -> str:
    difference, reduced = compare(served), served.card.reduced
    if reduced is None:
        return f"features as torch's but for {difference:.0e} of the largest"
    return f"8-bit integers; by its card {100 * reduced.feature_error:.1f} % from the features of {reduced.of}"


def _calibration(card: Card) -> Step:
    if card.calibration is None:
        return Step(
            "calibration", "note", "none: probabilities are the learner's own; `kshot calibrate` fits one to pictures"
        )
    return Step("calibration", "ok", f"fitted to {card.calibration.data}")
