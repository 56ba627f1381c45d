"""Classify pictures, by a stored classifier or adapting in the same call, whatever body they came in."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from fastapi import Request
from torch import Tensor

from meta_core.learner import AdaptOptions
from meta_core.support_summary import drop
from service.admission import Lane
from service.answers import Judgement, classification, refuse_if_all_bad, results
from service.callers import Caller
from service.choice import Adapted, Candidates, adapt
from service.classifier import Classifier, Labels
from service.decoding import Decoded, Encoded
from service.dependencies import Services, attended, knock_of
from service.judging import judged_by
from service.reporting import nearest_to, references, stored_features
from service.scheduler import Outcome
from service.schemas import Classification, ExampleRef, NearestExample
from service.served import ServedModel
from service.support import Loc, Support, check_adaptation
from service.timing import note

Nearest = list[list[NearestExample]] | None


class Queries(NamedTuple):
    """Pictures to classify as they came."""

    pictures: Sequence[Encoded]
    filenames: Sequence[str | None]
    locs: Sequence[Loc]
    top_k: int | None = None
    none_threshold: float | None = None
    explain: bool = False


async def classify(
    request: Request, services: Services, caller: Caller, queries: Queries, *, classifier_id: str
) -> Classification:
    """Classify pictures by a stored classifier."""
    began = time.perf_counter()
    judged = await judge_stored(request, services, caller, queries, classifier_id=classifier_id)
    return _answer(
        judged.model,
        judged.classifier.labels,
        judged.outcome,
        judged.decoded,
        queries,
        judgement=judged.judgement,
        classifier_id=classifier_id,
        reason="the classifier's own",
        decode_seconds=judged.decode_seconds,
        began=began,
    )


class Judged(NamedTuple):
    """What a stored classifier says of pictures, and which of them could be decoded at all."""

    classifier: Classifier
    model: ServedModel
    outcome: Outcome
    decoded: list[Decoded]
    decode_seconds: float
    judgement: Judgement


async def judge_stored(
    request: Request, services: Services, caller: Caller, queries: Queries, *, classifier_id: str
) -> Judged:
    """Ask a stored classifier about pictures.

    Raises:
        UnknownClassifier, ModelVersionMissing: it cannot be asked.
        UndecodablePictures: all are bad.
    """
    classifier, state = await services.store.adapted(classifier_id, tenant=caller.tenant)
    served = services.catalog.pinned(classifier)

    async def predict() -> Judged:
        decoded, seconds = await _decode(services, queries, served)
        outcome = await services.engine.predict(
            served, await services.decoder.stacked(decoded), drop(state), tenant=caller.tenant
        )
        answers = await judged_by(services.reporter, served, state, outcome, classifier.shots)
        nearest = await _nearest_stored(services, caller, queries, classifier_id, outcome)
        return Judged(classifier, served, outcome, decoded, seconds, Judgement(answers, nearest))

    async with services.engine.admit(len(queries.pictures), lane=Lane.CLASSIFY, knock=knock_of(request)):
        judged = await attended(request, predict())
    note(request, judged.outcome.timings, decode_seconds=judged.decode_seconds)
    return judged


async def classify_once(
    request: Request,
    services: Services,
    caller: Caller,
    support: Support,
    queries: Queries,
    *,
    model: str | None,
    options: AdaptOptions,
) -> Classification:
    """Adapt and classify in one go; with one model, everything is encoded together. Nothing is stored."""
    began = time.perf_counter()
    candidates = Candidates.of(services.catalog, model, options)
    limits = services.settings.limits
    labels = Labels.of(support.labels, limits)
    check_adaptation(candidates.models, labels, options, limits)

    async def work() -> tuple[Adapted, list[Decoded], float, Judgement]:
        adapted, decoded, seconds = await _once(services, caller, candidates, support, labels, queries, options)
        adapted = await adapted.summarized(services, labels, options)
        state = adapted.outcome.state | adapted.summary
        answers = await judged_by(services.reporter, adapted.model, state, adapted.outcome, labels.shots)
        examples = [ExampleRef(example_id=None, index=place, label=label) for place, label in enumerate(support.labels)]
        nearest = await _nearest(services, queries, adapted.outcome, adapted.features, examples)
        return adapted, decoded, seconds, Judgement(answers, nearest)

    async with services.engine.admit(
        len(support.pictures) * len(candidates.models) + len(queries.pictures), knock=knock_of(request)
    ):
        adapted, decoded, decode_seconds, judgement = await attended(request, work())
    note(request, adapted.outcome.timings, decode_seconds=decode_seconds)
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
    caller: Caller,
    candidates: Candidates,
    support: Support,
    labels: Labels,
    queries: Queries,
    options: AdaptOptions,
) -> tuple[Adapted, list[Decoded], float]:
    """Adapt, and predict the queries that can be decoded; seconds are those of decoding the queries."""
    if len(candidates.models) > 1:
        adapted = await adapt(
            services, candidates, support.pictures, labels, locs=support.locs, options=options, tenant=caller.tenant
        )
        decoded, seconds = await _decode(services, queries, adapted.model)
        outcome = await services.engine.predict(
            adapted.model, await services.decoder.stacked(decoded), adapted.outcome.state, tenant=caller.tenant
        )
        return adapted.answering(outcome), decoded, seconds
    served = candidates.models[0]
    began = time.perf_counter()
    examples = await services.decoder.all(support.pictures, served.card.pictures, loc=support.locs)
    decoded, _ = await _decode(services, queries, served)
    seconds = time.perf_counter() - began
    pictures = torch.cat([examples, await services.decoder.stacked(decoded)])  # everything is encoded together
    outcome = await services.engine.adapt(served, pictures, labels.targets, options=options, tenant=caller.tenant)
    return Adapted(served, examples, outcome, None, candidates.reason), decoded, seconds


async def _nearest_stored(
    services: Services, caller: Caller, queries: Queries, classifier_id: str, outcome: Outcome
) -> Nearest:
    """None also where the examples of the classifier are not kept."""
    if not queries.explain:
        return None
    classifier, examples = await services.store.with_examples(classifier_id, tenant=caller.tenant)
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
    decoded = await services.decoder.each(queries.pictures, model.card.pictures)
    refuse_if_all_bad(decoded, queries.locs)
    return decoded, time.perf_counter() - began


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
