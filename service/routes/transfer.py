"""Classifiers as files: export one, import one."""

from typing import Annotated, Any

from fastapi import APIRouter, File, Query, Request, Response, UploadFile

from service import exporting, importing
from service.dependencies import CallerDep, ServicesDep
from service.described import etag
from service.idempotency import IDEMPOTENT, CreatingRoute, creation_headers
from service.parameters import ClassifierId, NameField, TtlField
from service.schemas import ETAG, LOCATED, ClassifierOut, problems

router = APIRouter(prefix="/v1/classifiers", tags=["transfer"], route_class=CreatingRoute)

_FILE: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


@router.get(
    "/{classifier_id}/export",
    operation_id="export_classifier",
    summary="A classifier as one file",
    response_class=Response,
    responses={200: {"content": _FILE, "headers": ETAG}, **problems(404, 409, 422, 500, 501, 503)},
)
async def export_classifier(
    classifier_id: ClassifierId,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    file_format: Annotated[
        exporting.Format,
        Query(
            alias="format",
            description="`safetensors`: state and encoded examples with a card, for import here or elsewhere; `onnx`: "
            "encoder and head in one graph, for ONNX Runtime alone.",
        ),
    ] = "safetensors",
) -> Response:
    """It answers as here: imported into another instance, or as ONNX without this software."""
    exported = await exporting.export(request, services, caller, classifier_id, kind=file_format)
    headers = {
        "Content-Disposition": f'attachment; filename="{exported.classifier.id}.{file_format}"',
        "ETag": etag(exported.classifier.revision),
    }
    return Response(exported.content, media_type="application/octet-stream", headers=headers)


@router.post(
    "/import",
    operation_id="import_classifier",
    summary="Create from an exported file",
    status_code=201,
    responses={201: {"headers": LOCATED}, **problems(400, 409, 413, 422, 503)},
    dependencies=IDEMPOTENT,
)
async def import_classifier(
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    file: Annotated[UploadFile, File(description="What `export` gave as safetensors; never ONNX.")],
    name: NameField = None,
    ttl_seconds: TtlField = None,
) -> ClassifierOut:
    """A new classifier that answers as the exported one; its model must be loaded here, in the same version."""
    data = await file.read()
    taken = await importing.take(request, services, caller, data, name=name or None, ttl_seconds=ttl_seconds)
    response.headers.update(creation_headers(taken))
    return taken
