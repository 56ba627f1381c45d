"""Answer with numbers: adapt to targets in the same call."""

from fastapi import APIRouter, Request

from service import regressing
from service.bodies import StrictRoute
from service.dependencies import CallerDep, ServicesDep
from service.schemas import Regression, RegressOnce, problems

router = APIRouter(tags=["regress"], route_class=StrictRoute)


@router.post(
    "/v1/regress",
    operation_id="regress_once",
    summary="Adapt to targets and answer with numbers in one call",
    responses=problems(400, 404, 413, 422, 503),
)
async def regress_once(body: RegressOnce, request: Request, services: ServicesDep, caller: CallerDep) -> Regression:
    """Each query's value is its own: it does not depend on the others of the request. Nothing is stored."""
    return await regressing.regress_once(request, services, caller, body)
