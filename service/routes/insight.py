"""What a stored classifier is worth: evaluate it, look at it."""

from fastapi import APIRouter, Request, Response

from service import evaluating, mapping, support
from service.bodies import StrictRoute
from service.dependencies import CallerDep, ServicesDep
from service.parameters import ArchiveField, ClassifierId, FilesField, LabelsField
from service.schemas import EvaluateExamples, EvaluationOut, MapOut, problems

router = APIRouter(prefix="/v1/classifiers/{classifier_id}", tags=["insight"], route_class=StrictRoute)

_EVALUATED = problems(400, 404, 409, 413, 422, 503)


@router.post("/evaluate", operation_id="evaluate", summary="Evaluate on labelled base64 pictures", responses=_EVALUATED)
async def evaluate(
    classifier_id: ClassifierId, body: EvaluateExamples, request: Request, services: ServicesDep, caller: CallerDep
) -> EvaluationOut:
    """Accuracy with its confidence interval, which labels are confused, and whether confidence can be believed.

    The pictures must not be among the examples; nothing of them is stored.
    """
    given = support.of_json(body.examples)
    return await evaluating.evaluate(request, services, caller, given, classifier_id=classifier_id)


@router.post(
    "/evaluate/upload",
    operation_id="evaluate_upload",
    summary="Evaluate on labelled files",
    responses=_EVALUATED,
)
async def evaluate_upload(
    classifier_id: ClassifierId,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    files: FilesField,
    labels: LabelsField,
) -> EvaluationOut:
    """The same from a form with files."""
    given = await support.of_files(files, labels, "files", services.settings.limits)
    names = [file.filename for file in files]
    return await evaluating.evaluate(request, services, caller, given, classifier_id=classifier_id, filenames=names)


@router.post("/evaluate/archive", operation_id="evaluate_archive", summary="Evaluate on a zip", responses=_EVALUATED)
async def evaluate_archive(
    classifier_id: ClassifierId,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    archive: ArchiveField,
) -> EvaluationOut:
    """The same from a zip with a folder a label."""
    given = await support.of_archive(archive, services)
    names = [str(loc[-1]) for loc in given.locs]
    return await evaluating.evaluate(request, services, caller, given, classifier_id=classifier_id, filenames=names)


@router.get(
    "/map",
    operation_id="map_classifier",
    summary="A map of the examples",
    response_model=MapOut,
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        **problems(404, 409, 422, 501, 503),
    },
)
async def map_classifier(
    classifier_id: ClassifierId, request: Request, response: Response, services: ServicesDep, caller: CallerDep
) -> MapOut | Response:
    """Points as JSON; a picture with `Accept: image/png`. What lies near is alike to the model."""
    found = await mapping.mapped(services, caller, classifier_id)
    if mapping.prefers_png(request.headers.get("accept", "")):
        png = await services.reporter.run(mapping.picture_of, found)
        return Response(png, media_type="image/png", headers={"Vary": "Accept"})
    response.headers["Vary"] = "Accept"
    return await services.reporter.run(mapping.points_of, found)
