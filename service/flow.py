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
from meta_core.support_summary import drop
from service.answers import Judgement, classification, refuse_if_all_bad, results
from service.callers import Caller
from service.choice import Adapted, Candidates, adapt
from service.classifier import Classifier, Example, Labels, examples_of
from service.decoding import Decoded, Encoded
from service.dependencies import Services, attended
from service.errors import InvalidRequest, TooLarge
from service.judging import judge
from service.reporting import nearest_to, references, report_on, stored_features
from service.scheduler import Outcome
from service.schemas import Classification, ExampleRef, NearestExample, ReportOut
from service.served import ServedModel
from service.settings import Limits

Loc = tuple[str | int, ...]
Nearest = list[list[NearestExample]] | None


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
    none_threshold: float | None = None
    explain: bool = False


async def create(
    request: Request,
    services: Services,
    caller: Caller,
    support: Support,
    *,
    model: str | None,
    options: AdaptOptions,
    name: str | None,
    ttl_seconds: int | None,
    metadata: dict[str, Any],
) -> Classifier:
    """Adapt to labelled pictures, report on them and store the classifier; it is on disk when this returns."""
    limits = services.settings.limits
    candidates = Candidates.of(services.catalog, model, options)
    labels = _check_adaptation(candidates, support, options, limits)
    _check_metadata(metadata, limits.metadata_bytes)

    async def work() -> tuple[Adapted, list[Example], ReportOut | None]:
        adapted = await adapt(services, candidates, support.pictures, labels, locs=support.locs, options=options)
        adapted = await adapted.summarized(services, labels, options)
        keep = adapted.model.learner.encodes or services.settings.keep_images
        run, targets = services.reporter.run, labels.targets
        examples = await run(examples_of, labels, adapted.pictures, adapted.features, keep_features=keep)
        told = await run(
            report_on,
            adapted.model,
            adapted.features,
            targets,
            examples,
            labels=labels.names,
            options=options,
            logits=adapted.left_out,
        )
        return adapted, examples, told

    async with services.engine.admit(len(support.pictures) * len(candidates.models)):
        adapted, examples, told = await attended(request, work())
    classifier = Classifier.new(
        adapted.model,
        labels,
        tenant=caller.tenant,
        model_reason=adapted.reason,
        options=options,
        name=name,
        ttl_seconds=ttl_seconds,
        metadata=metadata,
        report=None if told is None else told.model_dump(mode="json"),
    )
    await services.store.put(classifier, adapted.outcome.state | adapted.summary, examples)
    return classifier


async def classify(
    request: Request, services: Services, caller: Caller, queries: Queries, *, classifier_id: str
) -> Classification:
    """Classify pictures by a stored classifier."""
    began = time.perf_counter()
    classifier = await services.store.get(classifier_id, tenant=caller.tenant)
    served = services.catalog[classifier.model]
    classifier.check_served_by(served)
    state = await services.store.state(classifier)

    async def predict() -> tuple[Outcome, list[Decoded], float, Judgement]:
        decoded, seconds = await _decode(services, queries, served)
        outcome = await services.engine.predict(served, _stack(decoded), drop(state))
        answers = await services.reporter.run(judge, served, state, outcome, classifier.shots)
        return (
            outcome,
            decoded,
            seconds,
            Judgement(answers, await _nearest_stored(services, queries, classifier, outcome)),
        )

    async with services.engine.admit(len(queries.pictures)):
        outcome, decoded, decode_seconds, judgement = await attended(request, predict())
    return _answer(
        served,
        classifier.labels,
        outcome,
        decoded,
        queries,
        judgement=judgement,
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
    """Adapt and classify in one go; with one model, everything is encoded together. Nothing is stored."""
    began = time.perf_counter()
    candidates = Candidates.of(services.catalog, model, options)
    labels = _check_adaptation(candidates, support, options, services.settings.limits)

    async def work() -> tuple[Adapted, list[Decoded], float, Judgement]:
        adapted, decoded, seconds = await _once(services, candidates, support, labels, queries, options)
        adapted = await adapted.summarized(services, labels, options)
        state = adapted.outcome.state | adapted.summary
        answers = await services.reporter.run(judge, adapted.model, state, adapted.outcome, labels.shots)
        examples = [ExampleRef(example_id=None, index=place, label=label) for place, label in enumerate(support.labels)]
        nearest = await _nearest(services, queries, adapted.outcome, adapted.features, examples)
        return adapted, decoded, seconds, Judgement(answers, nearest)

    async with services.engine.admit(len(support.pictures) * len(candidates.models) + len(queries.pictures)):
        adapted, decoded, decode_seconds, judgement = await attended(request, work())
    return _answer(
        adapted.model,
        labels.names,
        adapted.outcome,
        decoded,
        queries,
        judgement=judgement,
        classifier_id=None,
        reason=adapted.reason,
        decode_seconds=decode_seconds,
        began=began,
    )


async def _once(
    services: Services,
    candidates: Candidates,
    support: Support,
    labels: Labels,
    queries: Queries,
    options: AdaptOptions,
) -> tuple[Adapted, list[Decoded], float]:
    """Adapt, and predict the queries that can be decoded; seconds are those of decoding the queries."""
    if len(candidates.models) > 1:
        adapted = await adapt(services, candidates, support.pictures, labels, locs=support.locs, options=options)
        decoded, seconds = await _decode(services, queries, adapted.model)
        outcome = await services.engine.predict(adapted.model, _stack(decoded), adapted.outcome.state)
        return adapted.answering(outcome), decoded, seconds
    served = candidates.models[0]
    began = time.perf_counter()
    examples = await services.decoder.all(support.pictures, served.card.input, loc=support.locs)
    decoded, _ = await _decode(services, queries, served)
    seconds = time.perf_counter() - began
    pictures = torch.cat([examples, _stack(decoded)])  # everything is encoded together
    outcome = await services.engine.adapt(served, pictures, labels.targets, options=options)
    return Adapted(served, examples, outcome, None, candidates.reason), decoded, seconds


async def _nearest_stored(services: Services, queries: Queries, classifier: Classifier, outcome: Outcome) -> Nearest:
    """None also where the examples of the classifier are not kept."""
    if not queries.explain:
        return None
    examples = await services.store.examples(classifier)
    features = stored_features(examples, outcome.query_features.shape[1:])
    if features is None:
        return None
    return await _nearest(services, queries, outcome, features, references(classifier.labels, examples))


async def _nearest(
    services: Services, queries: Queries, outcome: Outcome, features: Tensor, examples: Sequence[ExampleRef]
) -> Nearest:
    """Of each decoded query the nearest examples, if the request asks for them."""
    if not queries.explain:
        return None
    return await services.reporter.run(nearest_to, features, outcome.query_features, examples)


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
    judgement: Judgement,
    classifier_id: str | None,
    reason: str,
    decode_seconds: float,
    began: float,
) -> Classification:
    return classification(
        results(
            labels,
            judgement,
            decoded,
            filenames=queries.filenames,
            top_k=queries.top_k,
            none_threshold=queries.none_threshold,
        ),
        outcome.timings,
        classifier_id=classifier_id,
        model=model.card.name,
        reason=reason,
        calibrated=model.card.calibration is not None,
        decode_seconds=decode_seconds,
        total_seconds=time.perf_counter() - began,
    )


def _check_adaptation(candidates: Candidates, support: Support, options: AdaptOptions, limits: Limits) -> Labels:
    labels = Labels.of(support.labels, limits)
    for model in candidates.models:
        model.check_options(options)
        examples, steps = len(labels.indices), model.steps(options)
        if not model.learner.encodes and examples * steps > limits.adapt_pictures_steps:
            raise TooLarge(
                f"{examples} examples × {steps} steps came; {model.card.name} adapts its whole network and takes at "
                f"most {limits.adapt_pictures_steps} (adapt_pictures_steps): send fewer examples, or set adapt.steps "
                f"to at most {limits.adapt_pictures_steps // examples}"
            )
    return labels


def _check_metadata(metadata: dict[str, Any], max_bytes: int) -> None:
    size = len(json.dumps(metadata).encode())
    if size > max_bytes:
        raise InvalidRequest(f"the metadata is {size} bytes as JSON; at most {max_bytes} are kept")
