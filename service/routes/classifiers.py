"""Stored classifiers: create, list, get, delete."""

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile

from meta_core.learner import AdaptOptions
from service import flow
from service.bodies import StrictRoute
from service.callers import Caller
from service.classifier import Classifier
from service.dependencies import CallerDep, Services, ServicesDep
from service.fields import ModelName, Name, TtlSeconds
from service.flow import Support
from service.schemas import (
    AdaptOut,
    ClassifierOut,
    ClassifierPage,
    CreateClassifier,
    LabelCount,
    ModelChoice,
    ReportOut,
    problems,
)
from service.uploads import Labelled, match_labels, read_adapt, read_archive, read_files

router = APIRouter(prefix="/v1/classifiers", tags=["classifiers"], route_class=StrictRoute)

_CREATED: dict[int | str, dict[str, Any]] = {
    201: {"headers": {"Location": {"description": "Path of the classifier.", "schema": {"type": "string"}}}},
    **problems(400, 404, 413, 422, 503),
}

ClassifierId = Annotated[str, Path(max_length=64, examples=["clf_5f0c8a1e9b7d4c2f6a3e1d0b"])]
LabelsField = Annotated[
    list[str],
    Form(
        min_length=1,
        description="One label a file, in the files' order: repeated fields, one JSON array, one JSON object "
        "filename → label, or one string joined by commas or line breaks.",
    ),
]
FilesField = Annotated[list[UploadFile], File(min_length=1, description="Pictures: JPEG, PNG, WebP, GIF, BMP or TIFF.")]
# Swagger UI fills forms with the examples, or with values of its own making where there are none.
ModelField = Annotated[ModelName | None, Form(examples=["omniglot-protonet"])]
NameField = Annotated[Name | None, Form(description="Yours to recognize it by.", examples=["my classifier"])]
TtlField = Annotated[TtlSeconds | None, Form(examples=[86400])]
AdaptField = Annotated[
    str | None,
    Form(
        max_length=1000,
        description="How to adapt, as one JSON object, within the limits of the model's card (`adapt`): "
        '`{"steps": 5}`, `{"rate": 0.5}` or both.',
        examples=["{}"],  # the default model takes no options
    ),
]


@router.post(
    "", operation_id="create_classifier", summary="Create from base64 pictures", status_code=201, responses=_CREATED
)
async def create_classifier(
    body: CreateClassifier, request: Request, response: Response, services: ServicesDep, caller: CallerDep
) -> ClassifierOut:
    """Adapt a model to labelled pictures in this very request; when 201 is answered the classifier is on disk."""
    support = Support(
        labels=[example.label for example in body.examples],
        pictures=[example.image for example in body.examples],
        locs=[("body", "examples", number, "image") for number in range(len(body.examples))],
    )
    classifier = await flow.create(
        request,
        services,
        caller,
        support,
        model=body.model,
        options=AdaptOptions(**body.adapt.model_dump()),
        name=body.name,
        ttl_seconds=body.ttl_seconds,
        metadata=body.metadata,
    )
    return _created(classifier, response)


@router.post(
    "/upload",
    operation_id="create_classifier_upload",
    summary="Create from uploaded files",
    status_code=201,
    responses=_CREATED,
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
    pictures = await read_files(files, services.settings.limits)
    support = Support(
        labels=match_labels(labels, [file.filename for file in files]),
        pictures=pictures,
        locs=[("body", "files", number) for number in range(len(files))],
    )
    classifier = await _create_from_form(request, services, caller, support, model, name, ttl_seconds, adapt)
    return _created(classifier, response)


@router.post(
    "/archive",
    operation_id="create_classifier_archive",
    summary="Create from a zip",
    status_code=201,
    responses=_CREATED,
)
async def create_classifier_archive(
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    archive: Annotated[UploadFile, File(description="A zip of `label/name.jpg`.")],
    model: ModelField = None,
    name: NameField = None,
    ttl_seconds: TtlField = None,
    adapt: AdaptField = None,
) -> ClassifierOut:
    """The same from a zip with a folder a label."""
    pictures: list[Labelled] = await services.decoder.run(read_archive, await archive.read(), services.settings.limits)
    support = Support(
        labels=[picture.label for picture in pictures],
        pictures=[picture.data for picture in pictures],
        locs=[("body", "archive", picture.name) for picture in pictures],
    )
    classifier = await _create_from_form(request, services, caller, support, model, name, ttl_seconds, adapt)
    return _created(classifier, response)


@router.get("", operation_id="list_classifiers", summary="All classifiers", responses=problems(422))
async def list_classifiers(
    services: ServicesDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=100, description="How many on this page.")] = 20,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
) -> ClassifierPage:
    """The newest first, page by page."""
    page = await services.store.page(tenant=caller.tenant, limit=limit, cursor=cursor)
    return ClassifierPage(
        data=[_out(classifier) for classifier in page.classifiers],
        next_cursor=page.next_cursor,
        has_more=page.next_cursor is not None,
    )


@router.get("/{classifier_id}", operation_id="get_classifier", summary="One classifier", responses=problems(404, 422))
async def get_classifier(classifier_id: ClassifierId, services: ServicesDep, caller: CallerDep) -> ClassifierOut:
    """Its labels, model and times."""
    return _out(await services.store.get(classifier_id, tenant=caller.tenant))


@router.delete(
    "/{classifier_id}",
    operation_id="delete_classifier",
    summary="Delete a classifier",
    status_code=204,
    responses=problems(404, 422),
)
async def delete_classifier(classifier_id: ClassifierId, services: ServicesDep, caller: CallerDep) -> None:
    """It and its examples are gone when this is answered."""
    await services.store.delete(classifier_id, tenant=caller.tenant)


async def _create_from_form(
    request: Request,
    services: Services,
    caller: Caller,
    support: Support,
    model: str | None,
    name: str | None,
    ttl_seconds: int | None,
    adapt: str | None,
) -> Classifier:
    return await flow.create(
        request,
        services,
        caller,
        support,
        model=model or None,  # forms of browsers send what is left empty as an empty string
        options=read_adapt(adapt),
        name=name or None,
        ttl_seconds=ttl_seconds,
        metadata={},
    )


def _created(classifier: Classifier, response: Response) -> ClassifierOut:
    response.headers["Location"] = f"/v1/classifiers/{classifier.id}"
    return _out(classifier)


def _out(classifier: Classifier) -> ClassifierOut:
    counts = zip(classifier.labels, classifier.shots, strict=True)
    return ClassifierOut(
        id=classifier.id,
        name=classifier.name,
        model=classifier.model,
        model_choice=ModelChoice(reason=classifier.model_reason),
        version=classifier.version,
        adapt=AdaptOut(**classifier.options),
        labels=[LabelCount(label=label, shots=shots) for label, shots in counts],
        examples=sum(classifier.shots),
        created_at=classifier.created_at,
        updated_at=classifier.updated_at,
        expires_at=classifier.expires_at,
        metadata=classifier.metadata,
        report=None if classifier.report is None else ReportOut.model_validate(classifier.report),
    )
