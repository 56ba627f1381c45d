"""A classifier from a file that `export` gave, here or elsewhere: nothing in it is believed that can be checked."""

import secrets
from typing import Any

import torch
from fastapi import Request
from torch import Tensor

from meta_core.errors import InvalidClassifierFile
from meta_core.learner import AdaptOptions
from meta_core.portable import ClassifierCard, Portable, check_model, check_state, loads
from meta_core.support_summary import drop
from service.callers import Caller
from service.choice import Adapted
from service.classifier import Classifier, Example, Labels
from service.dependencies import Services, attended, knock_of
from service.described import described
from service.errors import ModelVersionMissing, UnknownModel
from service.idempotency import receipt_for
from service.quota import check_quota
from service.schemas import ClassifierOut
from service.served import ServedModel
from service.support import Made, check_adaptation, check_metadata, made_of
from service.timing import note
from service.uploads import check_label, check_name


async def take(
    request: Request, services: Services, caller: Caller, data: bytes, *, name: str | None, ttl_seconds: int | None
) -> ClassifierOut:
    """Store the classifier of a file; it is on disk when this returns.

    Raises:
        InvalidClassifierFile, InvalidRequest: the file is damaged, or does not fit together; says where.
        ModelVersionMissing: the model that it was made with is not loaded.
    """
    await check_quota(services, caller)
    portable = await services.decoder.run(loads, data)
    card, model = portable.card, _model(services, portable.card)
    names = [check_label(label, ("body", "file", "labels", place)) for place, label in enumerate(card.labels)]
    check_metadata(card.metadata, services.settings.limits)
    if tuple(names) != card.labels or len(set(names)) != len(names):
        raise InvalidClassifierFile("the file's labels have blanks around them, or two are the same")
    labels = Labels.of([names[label] for label in portable.examples.labels.tolist()], services.settings.limits)
    if labels.names != card.labels:
        raise InvalidClassifierFile("the file's labels are not in the order in which its examples have them")
    options = _options(card)
    check_adaptation([model], labels, options, services.settings.limits)
    await check_quota(services, caller)
    async with services.engine.admit(len(labels.indices), knock=knock_of(request)):
        made = await attended(request, _checked(request, services, model, portable, labels, options))
    classifier = Classifier.new(
        model,
        labels,
        tenant=caller.tenant,
        model_reason="imported",
        options=options,
        name=name if name is not None else check_name(card.name),
        ttl_seconds=ttl_seconds,
        metadata=card.metadata,
        report=made.report,
    )
    told = described(classifier)
    await services.store.put(classifier, made.state, made.examples, receipt=receipt_for(request, told))
    return told


def _model(services: Services, card: ClassifierCard) -> ServedModel:
    try:
        model = services.catalog[card.model]
    except UnknownModel as error:
        raise ModelVersionMissing(
            f"the file was made with {card.model} {card.version}, which is not loaded here; ask for it to be loaded"
        ) from error
    if problem := check_model(card, model.card, encodes=model.learner.encodes):
        raise ModelVersionMissing(f"the file's model is not loaded here: {problem}; ask for that version to be loaded")
    return model


def _options(card: ClassifierCard) -> AdaptOptions:
    given: dict[str, Any] = dict(card.options)
    steps = given.get("steps")
    if given.keys() - {"steps", "rate"} or (steps is not None and steps != int(steps)):
        raise InvalidClassifierFile("the file's options of adaptation are not steps, a whole number, and rate")
    return AdaptOptions(**given | ({} if steps is None else {"steps": int(steps)}))


async def _checked(
    request: Request,
    services: Services,
    model: ServedModel,
    portable: Portable,
    labels: Labels,
    options: AdaptOptions,
) -> Made:
    """Compare the state with what the model makes of as many examples: of the file\'s own, if they are in it."""
    shape, known = (len(labels.indices), *model.card.features), portable.examples.features
    if known is not None and tuple(known.shape) != shape:
        raise InvalidClassifierFile(f"the file's features are {tuple(known.shape)}; the model makes {shape}")
    features = torch.rand(shape, generator=torch.Generator().manual_seed(0)) if known is None else known
    # Shapes do not depend on the number of steps: the fewest do.
    fewest = AdaptOptions(steps=int(model.card.adapt["steps"][0])) if "steps" in model.card.adapt else AdaptOptions()
    outcome = await services.engine.adapt(
        model, torch.empty(0), labels.targets, options=options if known is not None else fewest, kept=features
    )
    note(request, outcome.timings)
    check_state(drop(portable.state), outcome.state)
    before = _stored(portable, labels, known)
    adapted = Adapted(model, torch.empty(0), outcome, None, "imported")
    made = await made_of(services, adapted, labels, options if known is not None else fewest, before=before)
    if known is not None:
        return made._replace(state=made.state | drop(portable.state))
    return Made(_without_examples(portable, made), made.examples, None)


def _without_examples(portable: Portable, made: Made) -> dict[str, Tensor]:
    """The file\'s state; its summary cannot be made anew, so that names and shapes of that must fit too."""
    summary, expected = portable.state, made.state
    if summary.keys() != expected.keys() or any(
        tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype for name, tensor in summary.items()
    ):
        raise InvalidClassifierFile("the file's summary of its examples is not one that this version makes")
    return summary


def _stored(portable: Portable, labels: Labels, known: Tensor | None) -> list[Example]:
    hashes = portable.examples.sha256.numpy()
    return [
        Example(
            id=f"exm_{secrets.token_hex(12)}",
            position=place,
            label=label,
            sha256=hashes[place].tobytes(),
            features=b"" if known is None else known[place].contiguous().numpy().tobytes(),
        )
        for place, label in enumerate(labels.indices)
    ]
