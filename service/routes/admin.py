"""What operators ask of a running service; needs a key with the scope admin, where keys are needed."""

import asyncio

from fastapi import APIRouter

from service.dependencies import Services, ServicesDep
from service.schemas import ReloadOut, problems
from service.served import ServedModel

router = APIRouter(prefix="/v1/admin", tags=["admin"])

_SPARE_SECONDS = 5.0


@router.post(
    "/models/reload", operation_id="reload_models", summary="Load the model folders again", responses=problems(503)
)
async def reload_models(services: ServicesDep) -> ReloadOut:
    """Load new and changed model folders of this process beside the traffic, and let go of those that are gone.

    Requests that are being answered finish with the model they began with; a damaged folder changes nothing.
    """
    settings = services.settings
    changes = await asyncio.to_thread(
        services.catalog.load, settings.models_dir, device=settings.device, threads=settings.threads
    )
    for model in changes.retired:
        _close_later(services, model)
    return ReloadOut(
        added=changes.added,
        replaced=changes.replaced,
        removed=changes.removed,
        unchanged=changes.unchanged,
        damaged_models=services.catalog.damaged,
        default_model=services.catalog.default,
    )


def _close_later(services: Services, model: ServedModel) -> None:
    """End a model's threads when no request can be using them any more."""
    longest = services.settings.limits.request_seconds + _SPARE_SECONDS
    asyncio.get_running_loop().call_later(longest, model.close)
