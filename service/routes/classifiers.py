"""Stored classifiers: create, list, get, change, delete."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from meta_core.learner import AdaptOptions
from service import changing, creating, support
from service.callers import Caller
from service.changing import Asked
from service.classifier import Classifier
from service.dependencies import CallerDep, Services, ServicesDep
from service.described import described, etag
from service.idempotency import IDEMPOTENT, CreatingRoute, creation_headers
from service.parameters import (
    AdaptField,
    ArchiveField,
    ClassifierId,
    CursorQuery,
    FilesField,
    IfMatch,
    LabelsField,
    LimitQuery,
    ModelField,
    NameField,
    TtlField,
)
from service.schemas import ETAG, LOCATED, ClassifierOut, ClassifierPage, CreateClassifier, PatchClassifier, problems
from service.support import Support, check_metadata
from service.uploads import read_adapt

router = APIRouter(prefix="/v1/classifiers", tags=["classifiers"], route_class=CreatingRoute)

_CREATED: dict[int | str, dict[str, Any]] = {201: {"headers": LOCATED}, **problems(400, 404, 413, 422, 503)}


@router.post(
    "",
    operation_id="create_classifier",
    summary="Create from base64 pictures",
    status_code=201,
    responses=_CREATED,
    dependencies=IDEMPOTENT,
)
async def create_classifier(
    body: CreateClassifier, request: Request, response: Response, services: ServicesDep, caller: CallerDep
) -> ClassifierOut:
    """Adapt a model to labelled pictures in this very request; when 201 is answered the classifier is on disk."""
    created = await creating.create(
        request,
        services,
        caller,
        support.of_json(body.examples),
        model=body.model,
        options=AdaptOptions(**body.adapt.model_dump()),
        name=body.name,
        ttl_seconds=body.ttl_seconds,
        metadata=body.metadata,
    )
    response.headers.update(creation_headers(created))
    return created


@router.post(
    "/upload",
    operation_id="create_classifier_upload",
    summary="Create from uploaded files",
    status_code=201,
    responses=_CREATED,
    dependencies=IDEMPOTENT,
)
async def create_classifier_upload(
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    files: FilesField,
    labels: LabelsField,
    model: ModelField = None,
    name: NameField = None,
    ttl_seconds: TtlField = None,
    adapt: AdaptField = None,
) -> ClassifierOut:
    """The same as creating from base64, from a form with files."""
    given = await support.of_files(files, labels, "files", services.settings.limits)
    created = await _create_from_form(request, services, caller, given, model, name, ttl_seconds, adapt)
    response.headers.update(creation_headers(created))
    return created


@router.post(
    "/archive",
    operation_id="create_classifier_archive",
    summary="Create from a zip",
    status_code=201,
    responses=_CREATED,
    dependencies=IDEMPOTENT,
)
async def create_classifier_archive(
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    archive: ArchiveField,
    model: ModelField = None,
    name: NameField = None,
    ttl_seconds: TtlField = None,
    adapt: AdaptField = None,
) -> ClassifierOut:
    """The same from a zip with a folder a label."""
    given = await support.of_archive(archive, services)
    created = await _create_from_form(request, services, caller, given, model, name, ttl_seconds, adapt)
    response.headers.update(creation_headers(created))
    return created


@router.get("", operation_id="list_classifiers", summary="All classifiers", responses=problems(422, 503))
async def list_classifiers(
    services: ServicesDep, caller: CallerDep, limit: LimitQuery = 20, cursor: CursorQuery = None
) -> ClassifierPage:
    """The newest first, page by page."""
    page = await services.store.page(tenant=caller.tenant, limit=limit, cursor=cursor)
    return ClassifierPage(
        data=[described(classifier) for classifier in page.classifiers],
        next_cursor=page.next_cursor,
        has_more=page.next_cursor is not None,
    )


@router.get(
    "/{classifier_id}",
    operation_id="get_classifier",
    summary="One classifier",
    responses={200: {"headers": ETAG}, **problems(404, 422, 503)},
)
async def get_classifier(
    classifier_id: ClassifierId, response: Response, services: ServicesDep, caller: CallerDep
) -> ClassifierOut:
    """Its labels, model and times."""
    found = await services.store.get(classifier_id, tenant=caller.tenant)
    response.headers["ETag"] = etag(found.revision)
    return described(found)


@router.patch(
    "/{classifier_id}",
    operation_id="patch_classifier",
    summary="Change name, time to live or metadata",
    responses={200: {"headers": ETAG}, **problems(400, 404, 409, 412, 413, 422, 503)},
)
async def patch_classifier(
    classifier_id: ClassifierId,
    body: PatchClassifier,
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    if_match: IfMatch = None,
) -> ClassifierOut:
    """What is left out stays as it is; null takes a name or a time to live away."""
    check_metadata(body.metadata, services.settings.limits)
    changed = await changing.change_description(
        Asked(request, services, caller, classifier_id, if_match), lambda classifier: _patched(classifier, body)
    )
    response.headers["ETag"] = etag(changed.revision)
    return described(changed)


@router.delete(
    "/{classifier_id}",
    operation_id="delete_classifier",
    summary="Delete a classifier",
    status_code=204,
    responses=problems(404, 412, 422, 503),
)
async def delete_classifier(
    classifier_id: ClassifierId, request: Request, services: ServicesDep, caller: CallerDep, if_match: IfMatch = None
) -> None:
    """It and its examples are gone when this is answered."""
    await changing.delete(Asked(request, services, caller, classifier_id, if_match))


async def _create_from_form(
    request: Request,
    services: Services,
    caller: Caller,
    given: Support,
    model: str | None,
    name: str | None,
    ttl_seconds: int | None,
    adapt: str | None,
) -> ClassifierOut:
    return await creating.create(
        request,
        services,
        caller,
        given,
        model=model or None,  # forms of browsers send what is left empty as an empty string
        options=read_adapt(adapt),
        name=name or None,
        ttl_seconds=ttl_seconds,
        metadata={},
    )


def _patched(classifier: Classifier, body: PatchClassifier) -> Classifier:
    given = body.model_fields_set
    if "name" in given:
        classifier = replace(classifier, name=body.name or None)
    if "metadata" in given:
        classifier = replace(classifier, metadata=body.metadata)
    if "ttl_seconds" in given:
        seconds = body.ttl_seconds
        expires = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
        classifier = replace(classifier, expires_at=expires)
    return classifier
