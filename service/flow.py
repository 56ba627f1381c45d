"""The two things that requests ask for, whatever body they came in: create a classifier, classify pictures."""

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from fastapi import Request
from torch import Tensor

from meta_core.errors import UndecodableImage
from meta_core.learner import AdaptOptions
from service.answers import classification, refuse_if_all_bad, results
from service.classifier import Classifier, Labels, examples_of
from service.decoding import Decoded, Encoded
from service.dependencies import Services, attended
from service.errors import InvalidRequest, TooLarge
from service.scheduler import Outcome
from service.schemas import Classification
from service.served import ServedModel
from service.settings import Limits

Loc = tuple[str | int, ...]


class Support(NamedTuple):
    """A support set as it came: labels, pictures, and where in the request each picture stands."""

    labels: Sequence[str]
    pictures: Sequence[Encoded]
    locs: Sequence[Loc]


class Queries(NamedTuple):
    """Pictures to classify as they came."""

    pictures: Sequence[Encoded]
    filenames: Sequence[str | None]
    locs: Sequence[Loc]
    top_k: int | None = None


async def create(
    request: Request,
    services: Services,
    support: Support,
    *,
    model: str | None,
    options: AdaptOptions,
    name: str | None,
    ttl_seconds: int | None,
    metadata: dict[str, Any],
) -> Classifier:
    """Adapt to labelled pictures and store the classifier; it is on disk when this returns."""
    served, reason = services.catalog.choose(model)
    labels = _check_adaptation(served, support, options, services.settings.limits)
    _check_metadata(metadata, services.settings.limits.metadata_bytes)

    async def adapt() -> tuple[Outcome, Tensor]:
        pictures = await services.decoder.all(support.pictures, served.card.input, loc=support.locs)
        return await services.engine.adapt(served, pictures, labels.targets, options=options), pictures

    async with services.engine.admit(len(support.pictures)):
        outcome, pictures = await attended(request, adapt())
    classifier = Classifier.new(
        served,
        labels,
        model_reason=reason,
        options=options,
        name=name,
        ttl_seconds=ttl_seconds,
        metadata=metadata,
    )
    assert outcome.support_features is not None  # noqa: S101 (an adaptation has them)
    keep = served.learner.encodes or services.settings.keep_images
    examples = examples_of(labels, pictures, outcome.support_features, keep_features=keep)
    await services.store.put(classifier, outcome.state, examples)
    return classifier


async def classify(request: Request, services: Services, queries: Queries, *, classifier_id: str) -> Classification:
    """Classify pictures by a stored classifier."""
    began = time.perf_counter()
    classifier = await services.store.get(classifier_id)
    served = services.catalog[classifier.model]
    classifier.check_served_by(served)
    state = await services.store.state(classifier)

    async def predict() -> tuple[Outcome, list[Decoded], float]:
        decoded, seconds = await _decode(services, queries, served)
        return await services.engine.predict(served, _stack(decoded), state), decoded, seconds

    async with services.engine.admit(len(queries.pictures)):
        outcome, decoded, decode_seconds = await attended(request, predict())
    return _answer(
        served,
        classifier.labels,
        outcome,
        decoded,
        queries,
        classifier_id=classifier.id,
        reason="the classifier's own",
        decode_seconds=decode_seconds,
        began=began,
    )


async def classify_once(
    request: Request,
    services: Services,
    support: Support,
    queries: Queries,
    *,
    model: str | None,
    options: AdaptOptions,
) -> Classification:
    """Adapt and classify in one go, encoding everything together; nothing is stored."""
    began = time.perf_counter()
    served, reason = services.catalog.choose(model)
    labels = _check_adaptation(served, support, options, services.settings.limits)

    async def adapt_and_predict() -> tuple[Outcome, list[Decoded], float]:
        examples = await services.decoder.all(support.pictures, served.card.input, loc=support.locs)
        decoded, _ = await _decode(services, queries, served)
        seconds = time.perf_counter() - began
        pictures = torch.cat([examples, _stack(decoded)])
        return await services.engine.adapt(served, pictures, labels.targets, options=options), decoded, seconds

    async with services.engine.admit(len(support.pictures) + len(queries.pictures)):
        outcome, decoded, decode_seconds = await attended(request, adapt_and_predict())
    return _answer(
        served,
        labels.names,
        outcome,
        decoded,
        queries,
        classifier_id=None,
        reason=reason,
        decode_seconds=decode_seconds,
        began=began,
    )


async def _decode(services: Services, queries: Queries, model: ServedModel) -> tuple[list[Decoded], float]:
    began = time.perf_counter()
    decoded = await services.decoder.each(queries.pictures, model.card.input)
    refuse_if_all_bad(decoded, queries.locs)
    return decoded, time.perf_counter() - began


def _stack(decoded: Sequence[Decoded]) -> Tensor:
    return torch.from_numpy(np.stack([picture for picture in decoded if not isinstance(picture, UndecodableImage)]))


def _answer(
    model: ServedModel,
    labels: Sequence[str],
    outcome: Outcome,
    decoded: Sequence[Decoded],
    queries: Queries,
    *,
    classifier_id: str | None,
    reason: str,
    decode_seconds: float,
    began: float,
) -> Classification:
    assert outcome.logits is not None  # noqa: S101 (there were queries)
    return classification(
        results(labels, outcome.logits, decoded, filenames=queries.filenames, top_k=queries.top_k),
        outcome.timings,
        classifier_id=classifier_id,
        model=model.card.name,
        reason=reason,
        calibrated=model.card.calibration is not None,
        decode_seconds=decode_seconds,
        total_seconds=time.perf_counter() - began,
    )


def _check_adaptation(model: ServedModel, support: Support, options: AdaptOptions, limits: Limits) -> Labels:
    model.check_options(options)
    labels = Labels.of(support.labels, limits)
    examples, steps = len(labels.indices), model.steps(options)
    if not model.learner.encodes and examples * steps > limits.adapt_pictures_steps:
        raise TooLarge(
            f"{examples} examples × {steps} steps came; {model.card.name} adapts its whole network and takes at most "
            f"{limits.adapt_pictures_steps} (adapt_pictures_steps): send fewer examples, or set adapt.steps to at most "
            f"{limits.adapt_pictures_steps // examples}"
        )
    return labels


def _check_metadata(metadata: dict[str, Any], max_bytes: int) -> None:
    size = len(json.dumps(metadata).encode())
    if size > max_bytes:
        raise InvalidRequest(f"the metadata is {size} bytes as JSON; at most {max_bytes} are kept")
