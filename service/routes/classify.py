"""Classify pictures: by a stored classifier, or adapting in the same call."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Request, UploadFile

from meta_core.learner import AdaptOptions
from service import classifying
from service import support as supports
from service.bodies import StrictRoute
from service.classifying import Queries
from service.dependencies import CallerDep, ServicesDep
from service.errors import TooLarge
from service.fields import FormBoolean
from service.parameters import AdaptField, ClassifierId, FilesField, LabelsField, ModelField
from service.schemas import Classification, ClassifyImages, ClassifyOnce, problems
from service.uploads import read_adapt, read_files

router = APIRouter(tags=["classify"], route_class=StrictRoute)

ExplainField = Annotated[FormBoolean, Form(description="Whether to name the examples nearest to each picture.")]
TopKField = Annotated[int | None, Form(ge=1, description="How many labels to list, the likeliest first.")]
NoneThresholdField = Annotated[
    float | None,
    Form(ge=0, le=1, description="Say “none of these” above this `none_probability`; the model's own if left out."),
]


@router.post(
    "/v1/classifiers/{classifier_id}/classify",
    operation_id="classify",
    summary="Classify base64 pictures by a classifier",
    responses=problems(400, 404, 409, 413, 422, 503),
)
async def classify(
    classifier_id: ClassifierId, body: ClassifyImages, request: Request, services: ServicesDep, caller: CallerDep
) -> Classification:
    """Each picture's answer is its own: it does not depend on the others of the request."""
    queries = _json_queries(body, services)
    return await classifying.classify(request, services, caller, queries, classifier_id=classifier_id)


@router.post(
    "/v1/classifiers/{classifier_id}/classify/upload",
    operation_id="classify_upload",
    summary="Classify uploaded files by a classifier",
    responses=problems(400, 404, 409, 413, 422, 503),
)
async def classify_upload(
    classifier_id: ClassifierId,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    files: FilesField,
    top_k: TopKField = None,
    none_threshold: NoneThresholdField = None,
    explain: ExplainField = False,
) -> Classification:
    """The same from a form with files."""
    queries = await _file_queries(files, "files", services, top_k=top_k, none_threshold=none_threshold, explain=explain)
    return await classifying.classify(request, services, caller, queries, classifier_id=classifier_id)


@router.post(
    "/v1/classify",
    operation_id="classify_once",
    summary="Adapt and classify in one call",
    responses=problems(400, 404, 413, 422, 503),
)
async def classify_once(
    body: ClassifyOnce, request: Request, services: ServicesDep, caller: CallerDep
) -> Classification:
    """Adapt to labelled pictures and classify others; nothing is stored."""
    return await classifying.classify_once(
        request,
        services,
        caller,
        supports.of_json(body.examples),
        _json_queries(body, services),
        model=body.model,
        options=AdaptOptions(**body.adapt.model_dump()),
    )


@router.post(
    "/v1/classify/upload",
    operation_id="classify_once_upload",
    summary="Adapt and classify uploaded files in one call",
    responses=problems(400, 404, 413, 422, 503),
)
async def classify_once_upload(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    support: Annotated[list[UploadFile], File(min_length=1, description="Labelled pictures.")],
    labels: LabelsField,
    queries: Annotated[list[UploadFile], File(min_length=1, description="Pictures to classify.")],
    model: ModelField = None,
    adapt: AdaptField = None,
    top_k: TopKField = None,
    none_threshold: NoneThresholdField = None,
    explain: ExplainField = False,
) -> Classification:
    """The same from a form with files."""
    examples = await supports.of_files(support, labels, "support", services.settings.limits)
    return await classifying.classify_once(
        request,
        services,
        caller,
        examples,
        await _file_queries(queries, "queries", services, top_k=top_k, none_threshold=none_threshold, explain=explain),
        model=model or None,
        options=read_adapt(adapt),
    )


def _json_queries(body: ClassifyImages | ClassifyOnce, services: ServicesDep) -> Queries:
    images = body.images
    if len(images) > services.settings.limits.files:
        raise TooLarge(f"{len(images)} images came; at most {services.settings.limits.files} are taken in a request")
    locs: list[tuple[str | int, ...]] = [("body", "images", number) for number in range(len(images))]
    return Queries(
        images, [None] * len(images), locs, top_k=body.top_k, none_threshold=body.none_threshold, explain=body.explain
    )


async def _file_queries(
    files: list[UploadFile],
    field: str,
    services: ServicesDep,
    *,
    top_k: int | None,
    none_threshold: float | None,
    explain: bool,
) -> Queries:
    locs: list[tuple[str | int, ...]] = [("body", field, number) for number in range(len(files))]
    names = [file.filename for file in files]
    pictures = await read_files(files, services.settings.limits)
    return Queries(pictures, names, locs, top_k=top_k, none_threshold=none_threshold, explain=explain)
