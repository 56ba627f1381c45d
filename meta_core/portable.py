"""An adapted classifier as one file: safetensors, with a card in its header. It answers with its model, anywhere.

The file holds what a classifier is made of: the adapted state, labels, and its encoded examples where they were kept,
so that whoever reads it can go on adding to them. Nothing in it is code.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from meta_core import checkpoint
from meta_core.answering import Answers
from meta_core.card import Card
from meta_core.episode import State
from meta_core.errors import InvalidClassifierFile
from meta_core.learner import Learner
from meta_core.predicting import Encode, Predictor
from meta_core.preprocess import decode, normalize

_HEADER = "kshot"
_STATE = "state/"
_FEATURES, _LABELS, _HASHES = "examples/features", "examples/labels", "examples/sha256"
_MOST_HEADER_BYTES = 4 * 2**20


class ClassifierCard(BaseModel):
    """What a classifier is: what made it, and what its user says of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    format: Literal[1] = 1
    model: str = Field(max_length=64)
    version: str = Field(max_length=64)
    encoder_sha256: str = Field(max_length=64, description="of the weights that made its features")
    precision: str = Field(max_length=16)
    options: dict[str, float] = Field(default={}, description="of adaptation, as the request set them")
    labels: tuple[str, ...] = Field(min_length=2)
    shots: tuple[int, ...]
    name: str | None = None
    metadata: dict[str, Any] = {}
    tensors_sha256: str = Field(default="", description="of all tensors; tells a damaged file")


class Examples(NamedTuple):
    """What is known of a classifier's examples.

    Attributes:
        features: (S, …) float32; None where they were not kept.
        labels: (S,) numbers of their labels.
        sha256: (S, 32) uint8, of the pictures as the model takes them.
    """

    features: Tensor | None
    labels: Tensor
    sha256: Tensor


class Portable(NamedTuple):
    """A classifier's file in memory; its state holds the summary of its examples too."""

    card: ClassifierCard
    state: State
    examples: Examples


def dumps(portable: Portable) -> bytes:
    """The file."""
    examples = portable.examples
    tensors = {f"{_STATE}{name}": tensor for name, tensor in portable.state.items()}
    tensors |= {_LABELS: examples.labels, _HASHES: examples.sha256}
    if examples.features is not None:
        tensors[_FEATURES] = examples.features
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    card = portable.card.model_copy(update={"tensors_sha256": _digest(tensors)})
    return safetensors.torch.save(tensors, metadata={_HEADER: card.model_dump_json()})


def loads(data: bytes) -> Portable:
    """A file's bytes, all of it checked but what only its model can tell.

    Raises:
        InvalidClassifierFile: not such a file, damaged, or of another format; says which.
    """
    header = int.from_bytes(data[:8], "little")
    if len(data) < 8 or header > min(_MOST_HEADER_BYTES, len(data)):
        raise InvalidClassifierFile("the file is not safetensors, or was cut off; expected what `export` gave")
    try:
        tensors = safetensors.torch.load(data)
        metadata = json.loads(data[8 : 8 + header]).get("__metadata__") or {}
    except Exception as error:  # of several libraries, whose errors have no common class
        raise InvalidClassifierFile(f"the file cannot be read as safetensors: {str(error)[:200]}") from error
    try:
        card = ClassifierCard.model_validate_json(metadata.get(_HEADER, ""))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part)[:80] for part in first["loc"]) or "its header"
        raise InvalidClassifierFile(f"the file is no classifier of format 1: {place}: {first['msg']}") from error
    if card.tensors_sha256 != _digest(tensors):
        raise InvalidClassifierFile("the file is damaged: its tensors are not those of its card; copy it again")
    examples = _examples(tensors, card)
    return Portable(card, _without_prefix(tensors), examples)


def check_model(card: ClassifierCard, model: Card, *, encodes: bool) -> str | None:
    """What is wrong with a model for a classifier, in words; None if it is the one that it was made with."""
    if model.name != card.model or model.version != card.version:
        return f"it was made with {card.model} {card.version}, this is {model.name} {model.version}"
    if model.files[checkpoint.ENCODER if encodes else checkpoint.WEIGHTS] != card.encoder_sha256:
        return f"it was made with other weights of {card.model} {card.version}"
    return f"it was made in {card.precision}, this is {model.precision}" if model.precision != card.precision else None


def check_state(state: State, expected: State) -> None:
    """Refuse a state that is not of the names, shapes and types that the model makes for so many labels and examples.

    Raises:
        InvalidClassifierFile: says which tensor.
    """
    if state.keys() != expected.keys():
        odd = sorted(state.keys() ^ expected.keys())
        raise InvalidClassifierFile(f"the file's state has other tensors than the model makes: {odd[0][:100]!r}")
    for name, tensor in state.items():
        other = expected[name]
        if tensor.shape != other.shape or tensor.dtype != other.dtype:
            raise InvalidClassifierFile(
                f"the file's {name[:100]!r} is {tuple(tensor.shape)} of {tensor.dtype}; the model makes "
                f"{tuple(other.shape)} of {other.dtype}"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InvalidClassifierFile(f"the file's {name[:100]!r} holds what is no finite number")


def classify(path: Path, pictures: Sequence[bytes], *, models: Path) -> tuple[tuple[str, ...], Answers]:
    """Ask a classifier's file about pictures, without a service.

    Args:
        path: of the file.
        pictures: files' contents: JPEG, PNG and so on.
        models: the folder of model folders.

    Returns:
        The labels, and what is said of each picture, (Q, C).

    Raises:
        InvalidClassifierFile: damaged, or the model is another one than it was made with.
    """
    portable = loads(path.read_bytes())
    card = portable.card
    model = checkpoint.load(models / card.model)
    spec, learner = model.card.pictures, model.learner
    asked = predictor(portable, model.card, learner, lambda rows: learner.encode(normalize(rows, spec)))
    return card.labels, asked.answer(torch.from_numpy(np.stack([decode(picture, spec) for picture in pictures])))


def predictor(portable: Portable, model: Card, learner: Learner, encode: Encode) -> Predictor:
    """What answers for a classifier's file, by the model that it was made with.

    Raises:
        InvalidClassifierFile: the model is another one.
    """
    if problem := check_model(portable.card, model, encodes=learner.encodes):
        raise InvalidClassifierFile(f"the classifier cannot be asked with this model: {problem}")
    return Predictor(model, learner, encode, portable.state, portable.card.shots)


def _examples(tensors: dict[str, Tensor], card: ClassifierCard) -> Examples:
    labels, hashes, features = tensors.get(_LABELS), tensors.get(_HASHES), tensors.get(_FEATURES)
    if labels is None or hashes is None or labels.dtype != torch.int64 or labels.ndim != 1:
        raise InvalidClassifierFile("the file does not say which examples the classifier was made from")
    ways, count = len(card.labels), len(labels)
    if len(card.shots) != ways or not count or int(labels.min()) < 0 or int(labels.max()) >= ways:
        raise InvalidClassifierFile(f"the file's {count} examples and {len(card.shots)} shots are not of {ways} labels")
    if tuple(labels.bincount(minlength=ways).tolist()) != card.shots or min(card.shots) < 1:
        raise InvalidClassifierFile("the file's card counts other examples of its labels than the file holds")
    if hashes.shape != (count, 32) or hashes.dtype != torch.uint8:
        raise InvalidClassifierFile(f"the file's hashes are {tuple(hashes.shape)}; expected ({count}, 32) bytes")
    if features is not None and (
        features.dtype != torch.float32 or len(features) != count or not bool(features.isfinite().all())
    ):
        raise InvalidClassifierFile(f"the file's features are not {count} rows of finite float32")
    return Examples(features, labels, hashes)


def _without_prefix(tensors: dict[str, Tensor]) -> State:
    state = {name.removeprefix(_STATE): tensor for name, tensor in tensors.items() if name.startswith(_STATE)}
    if len(state) + (3 if _FEATURES in tensors else 2) != len(tensors):
        raise InvalidClassifierFile("the file holds tensors that belong to no classifier")
    return state


def _digest(tensors: dict[str, Tensor]) -> str:
    made = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        made.update(f"{name}\n{tensor.dtype}\n{tuple(tensor.shape)}\n".encode())
        made.update(tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return made.hexdigest()
