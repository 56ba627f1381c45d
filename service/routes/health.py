"""Whether the process runs, whether it answers, what it is."""

from fastapi import APIRouter, Request

from service.dependencies import ServicesDep
from service.schemas import Live, Ready, VersionOut, problems

router = APIRouter(tags=["health"])


@router.get("/livez", operation_id="live", summary="Does the process run?")
async def live() -> Live:
    """200 from the first moment, also while models load: for a supervisor that restarts what does not answer."""
    return Live()


@router.get("/readyz", operation_id="ready", summary="Are requests answered?", responses=problems(503))
async def ready(services: ServicesDep) -> Ready:
    """200 once models are loaded; 503 with the reasons until then and once the device is lost."""
    if reason := services.not_ready():
        raise reason
    return Ready(models=sorted(services.catalog.models), damaged_models=services.catalog.damaged)


@router.get("/version", operation_id="version", summary="What runs here, and its limits")
async def service_version(request: Request, services: ServicesDep) -> VersionOut:
    """Version, device, default model and every limit."""
    return VersionOut(
        version=str(request.app.version),
        device=services.settings.device,
        default_model=services.catalog.default,
        limits=services.settings.limits,
    )
