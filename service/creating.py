"""Create a classifier, whatever body asked for it."""

from typing import Any

from fastapi import Request

from meta_core.learner import AdaptOptions
from service.callers import Caller
from service.choice import Adapted, Candidates, adapt
from service.classifier import Classifier, Labels
from service.dependencies import Services, attended, knock_of
from service.described import described
from service.idempotency import receipt_for
from service.quota import check_quota
from service.schemas import ClassifierOut
from service.support import Made, Support, check_adaptation, check_metadata, made_of
from service.timing import note


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
) -> ClassifierOut:
    """Adapt to labelled pictures, report on them and store the classifier; it is on disk when this returns."""
    limits = services.settings.limits
    candidates = Candidates.of(services.catalog, model, options)
    labels = Labels.of(support.labels, limits)
    check_adaptation(candidates.models, labels, options, limits)
    check_metadata(metadata, limits)
    await check_quota(services, caller)

    async def work() -> tuple[Adapted, Made]:
        adapted = await adapt(
            services,
            candidates,
            support.pictures,
            labels,
            locs=support.locs,
            options=options,
            tenant=caller.tenant,
        )
        return adapted, await made_of(services, adapted, labels, options)

    async with services.engine.admit(len(support.pictures) * len(candidates.models), knock=knock_of(request)):
        adapted, made = await attended(request, work())
    note(request, adapted.outcome.timings)
    classifier = Classifier.new(
        adapted.model,
        labels,
        tenant=caller.tenant,
        model_reason=adapted.reason,
        options=options,
        name=name,
        ttl_seconds=ttl_seconds,
        metadata=metadata,
        report=made.report,
    )
    told = described(classifier)
    await services.store.put(classifier, made.state, made.examples, receipt=receipt_for(request, told))
    return told
