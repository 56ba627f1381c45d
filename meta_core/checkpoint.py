"""A checkpoint is a folder: `card.json`, `learner.safetensors`, `encoder.onnx`, `README.md`. Nothing is pickled."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from torch import nn

from meta_core.batching import adapt_many
from meta_core.card import CARD_FORMAT, Card, Part, StateSize, card_text
from meta_core.episode import SupportSet
from meta_core.errors import InvalidCheckpoint, UnknownName
from meta_core.export import export_encoder
from meta_core.learner import AdaptOptions, Learner
from meta_core.onnx_backbone import OnnxBackbone
from meta_core.registry import BACKBONES, LEARNERS
from meta_core.vectors import AnySpec

CARD, WEIGHTS, ENCODER, TEXT = "card.json", "learner.safetensors", "encoder.onnx", "README.md"


@dataclass(frozen=True)
class Model:
    """A loaded checkpoint.

    Attributes:
        card: what it is.
        learner: in `eval` mode, its parameters without gradient.
        folder: where its files are.
    """

    card: Card
    learner: Learner
    folder: Path


def build_learner(learner: Part, backbone: Part, spec: AnySpec) -> Learner:
    """A learner with fresh weights.

    Raises:
        UnknownName: no such learner or backbone, or options it does not take.
    """
    network = BACKBONES.build(backbone.name, input_shape=spec.shape, **backbone.options)
    return _learner(learner, network, spec)


def around(encoder: Path, learner: Part, spec: AnySpec) -> Learner:
    """A learner with fresh weights around a graph that encodes.

    Raises:
        UnknownName: no such learner, or options it does not take.
    """
    return _learner(learner, OnnxBackbone(encoder), spec)


def _learner(learner: Part, backbone: nn.Module, spec: AnySpec) -> Learner:
    """One that has layers of its own on the features is told how many there are."""
    counted = {}
    if LEARNERS.takes(learner.name, "features") and "features" not in learner.options:
        training = backbone.training
        with torch.no_grad():
            counted["features"] = backbone.eval()(torch.zeros(1, *spec.shape)).shape[1]
        backbone.train(training)
    built: Learner = LEARNERS.build(learner.name, backbone=backbone, **counted, **learner.options)
    return built


def take_backbone(learner: Learner, folder: Path) -> Card:
    """Give `learner` the trained backbone of a model, whose card it returns.

    Raises:
        InvalidCheckpoint: there is no such model, or its backbone has other weights.
    """
    found = load(folder)
    try:
        learner.backbone.load_state_dict(found.learner.backbone.state_dict())
    except RuntimeError as error:
        raise InvalidCheckpoint(f"{folder.name}: its backbone is not of the kind to start from: {error}") from error
    return found.card


def round_to_half(learner: Learner) -> None:
    """Round all weights to what half precision can hold; they stay in float32.

    Raises:
        InvalidCheckpoint: one is too large for half precision.
    """
    for name, tensor in learner.state_dict().items():
        if tensor.is_floating_point():
            if not bool(tensor.half().isfinite().all()):
                raise InvalidCheckpoint(f"{name} holds {float(tensor.abs().max()):g}, too large for half precision")
            tensor.copy_(tensor.half())


def save(
    folder: Path,
    learner: Learner,
    *,
    description: dict[str, Any],
    extra: dict[str, bytes] | None = None,
    half: bool = False,
    encoder: Path | None = None,
) -> Card:
    """Write a checkpoint; the folder appears complete or, if anything fails, not at all.

    Args:
        folder: the model's folder, replaced if it is there.
        learner: what to write.
        description: the card's fields but those that are measured or computed here.
        extra: further files by name, such as pictures that the README shows.
        half: whether to round the weights to half precision and store them so; computing stays in float32.
        encoder: the graph that the learner's backbone runs, where it is no network of torch's.
    """
    draft = folder.with_name(f".{folder.name}.draft.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    learner = learner.cpu().eval()
    spec = TypeAdapter[AnySpec](AnySpec).validate_python(description["input"])
    if half:
        round_to_half(learner)
    _write_weights(draft / WEIGHTS, learner, name=description["name"], half=half)
    if encoder is None:
        export_encoder(learner, spec, draft / ENCODER)
    else:
        shutil.copy(encoder, draft / ENCODER)
    features = feature_shape(learner, spec)
    card = Card(
        **description | {"task": "regression" if learner.objective == "squared_error" else "classification"},
        features=features,
        state_bytes=measure_state(learner, features),
        most_ways=learner.most_ways,
        adapt=learner.limits,
        files={name: sha256(draft / name) for name in (WEIGHTS, ENCODER)},
    )
    (draft / CARD).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    (draft / TEXT).write_text(card_text(card), "utf-8")
    for name, data in (extra or {}).items():
        (draft / name).write_bytes(data)
    _put_in_place(draft, folder)
    return card


def rewrite_card(folder: Path, card: Card) -> None:
    """Replace a model's card and the text made of it; its weights stay."""
    for name, text in ((TEXT, card_text(card)), (CARD, card.model_dump_json(indent=2) + "\n")):
        draft = folder / f".{name}.tmp"
        draft.write_text(text, "utf-8")
        draft.replace(folder / name)


def load(folder: Path) -> Model:
    """Read a checkpoint and check every file against its card.

    Raises:
        InvalidCheckpoint: says which file is missing, damaged or foreign, and what to do.
    """
    card = read_card(folder)
    for name in (WEIGHTS, ENCODER):
        _check_hash(folder / name, card.files.get(name))
    try:
        learner = (
            build_learner(card.learner, card.backbone, card.input)
            if card.precision != "int8"
            else around(folder / ENCODER, card.learner, card.input)
        )
        learner.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
        features = feature_shape(learner.eval(), card.input)
    except (UnknownName, SafetensorError, RuntimeError) as error:
        raise InvalidCheckpoint(f"{folder.name}: {WEIGHTS} does not hold the learner of {CARD}: {error}") from error
    if features != card.features:  # a size of input that the weights fit, but were not trained for
        raise InvalidCheckpoint(f"{folder.name}: {CARD} says features are {card.features}, they are {features}")
    learner.requires_grad_(requires_grad=False)
    return Model(card=card, learner=learner, folder=folder)


def read_card(folder: Path) -> Card:
    """The card alone.

    Raises:
        InvalidCheckpoint: missing, not a card, or of a newer format.
    """
    path = folder / CARD
    if not path.is_file():
        raise InvalidCheckpoint(f"{folder} has no {CARD}; expected a folder that `kshot train` wrote")
    try:
        return Card.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidCheckpoint(
            f"{folder.name}: {CARD} is not a card of format {CARD_FORMAT}: {place}: {first['msg']}"
        ) from error


def feature_shape(learner: Learner, spec: AnySpec) -> tuple[int, ...]:
    """Shape of one encoded example."""
    with torch.no_grad():
        return tuple(learner.encode(torch.zeros(1, *spec.shape)).shape[1:])


def measure_state(learner: Learner, features: tuple[int, ...]) -> StateSize:
    """Bytes of an adapted state as a function of ways and examples, from four adaptations; a regression has one way."""
    if learner.objective == "squared_error":
        less, more = (_state_bytes(learner, features, ways=1, examples=examples) for examples in (6, 12))
        return StateSize(fixed=2 * less - more, per_way=0, per_example=(more - less) // 6)
    few = 2 if learner.most_ways is None else min(2, learner.most_ways - 1)
    small, more_examples, more_ways, more_of_both = (
        _state_bytes(learner, features, ways=ways, examples=examples)
        for ways, examples in ((few, 6), (few, 12), (few + 1, 6), (few + 1, 12))
    )
    per_target = (more_of_both - more_examples - more_ways + small) // 6
    per_example, per_way = (more_examples - small) // 6 - few * per_target, more_ways - small - 6 * per_target
    fixed = small - few * per_way - 6 * per_example - 6 * few * per_target
    return StateSize(fixed=fixed, per_way=per_way, per_example=per_example, per_target=per_target)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_weights(path: Path, learner: Learner, *, name: str, half: bool) -> None:
    kind = torch.float16 if half else torch.float32
    tensors = {
        key: (tensor.to(kind) if tensor.is_floating_point() else tensor).contiguous()
        for key, tensor in learner.state_dict().items()
    }
    safetensors.torch.save_file(tensors, path, metadata={"kshot": name})
    path.chmod(0o644)  # safetensors writes for the owner alone; a service runs as another user


def _put_in_place(draft: Path, folder: Path) -> None:
    if not folder.exists():
        draft.rename(folder)
        return
    # Moved away, not deleted: whoever is interrupted here still has both.
    former = folder.with_name(f".{folder.name}.former.tmp")
    shutil.rmtree(former, ignore_errors=True)
    folder.rename(former)
    draft.rename(folder)
    shutil.rmtree(former)


def _check_hash(path: Path, expected: str | None) -> None:
    where = f"{path.parent.name}: {path.name}"
    if not path.is_file():
        raise InvalidCheckpoint(f"{where} is missing; copy the whole model folder again")
    if (found := sha256(path)) != expected:
        raise InvalidCheckpoint(
            f"{where} is damaged or of another model: its SHA-256 is {found[:16]}…, the card says "
            f"{expected[:16] + '…' if expected else 'nothing'}; copy the whole model folder again"
        )


def _state_bytes(learner: Learner, features: tuple[int, ...], *, ways: int, examples: int) -> int:
    generator = torch.Generator().manual_seed(0)
    support = SupportSet(
        inputs=torch.rand(examples, *features, generator=generator),
        targets=torch.eye(ways)[torch.arange(examples) % ways],
        weights=torch.ones(examples),
    )
    (state,) = adapt_many(learner, [support], options=AdaptOptions())
    return sum(tensor.nbytes for tensor in state.values())
