"""Change a stored classifier: its examples, without encoding the others again, or what its user says of it."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import torch
from fastapi import Request
from torch import Tensor

from service.callers import Caller
from service.choice import Adapted
from service.classifier import Classifier, Example, Labels
from service.dependencies import Services, attended, in_time, knock_of
from service.described import described, etag
from service.errors import (
    ChangedMeanwhile,
    ExamplesNotKept,
    PreconditionFailed,
    TooFewLabels,
    UnknownClassifier,
)
from service.idempotency import receipt_for
from service.queries import Change, StaleRevision
from service.reporting import stored_features
from service.schemas import ChangedClassifier, ExampleOut
from service.served import ServedModel
from service.support import Made, Support, check_adaptation, made_of
from service.timing import note

Result = TypeVar("Result")

_TRIES = 8
"""Of a change that other replicas make stale; those of this process wait for each other."""


class Labelled(NamedTuple):
    """A stored example with its label's name."""

    example: Example
    label: str


Edit = Callable[[list[Labelled]], list[Labelled]]
"""All examples of a classifier → those that are left, each with the label that it has then."""


@dataclass(frozen=True)
class Asked:
    """Who asks to change which classifier, and in which state (`If-Match`) if that matters."""

    request: Request
    services: Services
    caller: Caller
    classifier_id: str
    if_match: str | None


class _Plan(NamedTuple):
    classifier: Classifier
    model: ServedModel
    before: Sequence[Example]
    left: Sequence[Labelled]
    labels: Labels


def everything(examples: list[Labelled]) -> list[Labelled]:
    """The edit that changes nothing."""
    return examples


async def change_examples(
    asked: Asked, edit: Edit = everything, *, support: Support | None = None
) -> ChangedClassifier:
    """Edit a classifier's examples, add labelled pictures, adapt again and store all that in one go.

    Args:
        asked: by whom, of what.
        edit: of the examples that are there.
        support: to add.

    Raises:
        UnknownClassifier, ModelVersionMissing, ExamplesNotKept, TooFewLabels: it cannot be done.
        PreconditionFailed: it is not in the state that `If-Match` names.
        ChangedMeanwhile: others changed it every time that this was about to be stored.
    """
    services = asked.services
    decoded: Tensor | None = None

    async def once() -> ChangedClassifier:
        nonlocal decoded
        plan = await _plan(asked, edit, [] if support is None else support.labels)
        if support is not None and decoded is None:
            spec = plan.model.card.pictures
            decoded = await attended(asked.request, services.decoder.all(support.pictures, spec, loc=support.locs))
        made = await attended(asked.request, _adapted(asked.request, services, plan, decoded))
        return await _store(asked, plan, made)

    # Before the turn is waited for: what waits is held in memory.
    async with services.engine.admit(1 if support is None else len(support.pictures), knock=knock_of(asked.request)):
        return await _one_by_one(asked, once)


async def change_description(asked: Asked, edit: Callable[[Classifier], Classifier]) -> Classifier:
    """Change what a user says of a classifier.

    Raises:
        UnknownClassifier, PreconditionFailed, ChangedMeanwhile: as of `change_examples`.
    """

    async def once() -> Classifier:
        found = await asked.services.store.get(asked.classifier_id, tenant=asked.caller.tenant)
        check_if_match(found, asked.if_match)
        changed = _next(edit(found))
        await asked.services.store.describe(changed)
        return changed

    return await _one_by_one(asked, once)


async def delete(asked: Asked) -> None:
    """Remove a classifier.

    Raises:
        UnknownClassifier, PreconditionFailed: there is none, or not in that state.
    """
    store, tenant = asked.services.store, asked.caller.tenant
    if asked.if_match is None:
        await store.delete(asked.classifier_id, tenant=tenant)
        return
    found = await store.get(asked.classifier_id, tenant=tenant)
    check_if_match(found, asked.if_match)
    try:
        await store.delete(found.id, tenant=tenant, revision=found.revision)
    except UnknownClassifier:
        check_if_match(await store.get(found.id, tenant=tenant), asked.if_match)
        raise


def check_if_match(classifier: Classifier, if_match: str | None) -> None:
    """Refuse a request that was made for another state of the classifier.

    Raises:
        PreconditionFailed: it was.
    """
    if if_match is None:
        return
    given, current = [each.strip() for each in if_match.split(",")], etag(classifier.revision)
    if "*" not in given and current not in given:
        raise PreconditionFailed(
            f"If-Match is {if_match[:100]}, the classifier's ETag is {current}: it was changed since you read it. "
            "Read it again, and repeat the change if it still makes sense"
        )


async def _one_by_one(asked: Asked, once: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """A change after those of the same classifier that wait here; again where another replica was first."""
    async with in_time(asked.request), asked.services.turns.of(("classifier", asked.classifier_id)):
        for _ in range(_TRIES):
            try:
                return await once()
            except StaleRevision:
                continue
    raise ChangedMeanwhile(
        f"others changed classifier {asked.classifier_id} {_TRIES} times while this change was worked on; ask again",
        retry_after_seconds=1,
    )


async def _plan(asked: Asked, edit: Edit, added: Sequence[str]) -> _Plan:
    services = asked.services
    classifier, examples = await services.store.with_examples(asked.classifier_id, tenant=asked.caller.tenant)
    check_if_match(classifier, asked.if_match)
    model = services.catalog.pinned(classifier)
    left = edit([Labelled(example, classifier.labels[example.label]) for example in examples])
    if not all(example.features for example in examples):
        raise ExamplesNotKept(
            f"{classifier.model} adapts its whole network: its examples are your pictures, which are not kept here "
            "(KSHOT_KEEP_IMAGES). Create a classifier of all the pictures again"
        )
    names = [each.label for each in left] + list(added)
    if len(set(names)) < 2:
        raise TooFewLabels(
            f"{len(names)} examples of {len(set(names))} labels would be left; a classifier needs two labels: add "
            "examples of another label first, or delete the classifier"
        )
    labels = Labels.of(names, services.settings.limits)
    check_adaptation([model], labels, classifier.adapt_options, services.settings.limits)
    return _Plan(classifier, model, examples, left, labels)


async def _adapted(request: Request, services: Services, plan: _Plan, decoded: Tensor | None) -> Made:
    options = plan.classifier.adapt_options
    left = [each.example for each in plan.left]
    new = torch.empty(0) if decoded is None else decoded
    kept = stored_features(left, plan.model.card.features) if left else None
    outcome = await services.engine.adapt(
        plan.model, new, plan.labels.targets, options=options, kept=kept, tenant=plan.classifier.tenant
    )
    note(request, outcome.timings)
    adapted = Adapted(plan.model, new, outcome, None, plan.classifier.model_reason)
    return await made_of(services, adapted, plan.labels, options, before=left)


async def _store(asked: Asked, plan: _Plan, made: Made) -> ChangedClassifier:
    labels = plan.labels
    classifier = replace(_next(plan.classifier), labels=labels.names, shots=labels.shots, report=made.report)
    before = {example.id: example for example in plan.before}
    after = {example.id for example in made.examples}
    added = [example for example in made.examples if example.id not in before]
    told = ChangedClassifier(
        **described(classifier).model_dump(),
        added=[ExampleOut(id=example.id, label=labels.names[example.label]) for example in added],
    )
    change = Change(
        classifier,
        made.state,
        added=added,
        removed=[identifier for identifier in before if identifier not in after],
        relabelled=[
            example for example in made.examples if example.id in before and before[example.id].label != example.label
        ],
    )
    await asked.services.store.change(change, receipt=receipt_for(asked.request, told))
    return told


def _next(classifier: Classifier) -> Classifier:
    return replace(classifier, revision=classifier.revision + 1, updated_at=datetime.now(UTC))
