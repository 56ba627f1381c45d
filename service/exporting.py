"""A stored classifier as one file: safetensors for this software, ONNX for any other."""

import asyncio
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from fastapi import Request

from meta_core.card import Card
from meta_core.episode import State
from meta_core.errors import MissingExtra
from meta_core.portable import ClassifierCard, Examples, Portable, dumps
from service.callers import Caller
from service.classifier import Classifier, Example
from service.dependencies import Services, attended
from service.errors import AdaptationFailed
from service.reporting import stored_features
from service.served import ServedModel
from service.store import Store

Format = Literal["safetensors", "onnx"]


class Exported(NamedTuple):
    """A file."""

    classifier: Classifier
    content: bytes


async def export(request: Request, services: Services, caller: Caller, classifier_id: str, *, kind: Format) -> Exported:
    """A classifier\'s file.

    Raises:
        UnknownClassifier, ModelVersionMissing: there is none, or its model is not loaded.
        MissingExtra: what writes ONNX is not installed.
        Overloaded, DeadlineExceeded: too many are being written, or this one took too long.
    """
    stored = await read(services.store, classifier_id, tenant=caller.tenant)
    model = services.catalog.pinned(stored.classifier)
    content = await services.reporter.run(dumps, portable_of(stored, model.card))
    if kind == "onnx":
        content = await attended(request, _onnx(services, model, content))
    return Exported(stored.classifier, content)


class Stored(NamedTuple):
    """All that is stored of a classifier, as of one revision."""

    classifier: Classifier
    examples: list[Example]
    state: State


async def read(store: Store, classifier_id: str, *, tenant: str) -> Stored:
    """A classifier with its examples and its adapted state.

    Raises:
        UnknownClassifier: the tenant has none of that id.
    """
    while True:
        classifier, examples = await store.with_examples(classifier_id, tenant=tenant)
        same, state = await store.adapted(classifier_id, tenant=tenant)
        if same.revision == classifier.revision:  # else it was changed in between
            return Stored(classifier, examples, state)


def portable_of(stored: Stored, model: Card) -> Portable:
    """What goes into its file; `model` is the one that it was adapted with."""
    return Portable(_card(stored.classifier), stored.state, _examples(stored.examples, model))


def _card(classifier: Classifier) -> ClassifierCard:
    return ClassifierCard(
        model=classifier.model,
        version=classifier.version,
        encoder_sha256=classifier.encoder_sha256,
        precision=classifier.precision,
        options=classifier.options,
        labels=classifier.labels,
        shots=classifier.shots,
        name=classifier.name,
        metadata=classifier.metadata,
    )


def _examples(examples: list[Example], model: Card) -> Examples:
    hashes = bytearray().join(example.sha256 for example in examples)
    return Examples(
        stored_features(examples, model.features),
        torch.tensor([example.label for example in examples]),
        torch.frombuffer(hashes, dtype=torch.uint8).view(len(examples), 32),
    )


async def _onnx(services: Services, model: ServedModel, content: bytes) -> bytes:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing or model.folder is None:
        raise MissingExtra(f"writing ONNX needs {' and '.join(missing)}; install kshot[train], or export safetensors")
    async with services.exports:
        return await _written(model.folder, content)


async def _written(folder: Path, content: bytes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="kshot-export-") as place:
        source, out = Path(place) / "classifier.safetensors", Path(place) / "classifier.onnx"
        await asyncio.to_thread(source.write_bytes, content)
        command = (sys.executable, "-m", "meta_core.portable_onnx", str(folder), str(source), str(out))
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        try:
            _, said = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise AdaptationFailed(f"this classifier cannot be written as ONNX: {_last_line(said)}")
        return await asyncio.to_thread(out.read_bytes)


def _last_line(said: bytes) -> str:
    return (said.decode(errors="replace").strip().splitlines() or ["no reason was given"])[-1][:300]
