"""What Prometheus scrapes."""

from fastapi import APIRouter, HTTPException, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.dependencies import ServicesDep
from service.schemas import problems

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(404)},
)
async def metrics(services: ServicesDep) -> Response:
    """In Prometheus' text format; 404 where `KSHOT_METRICS_PORT` has them on a port of their own."""
    if services.settings.metrics_port is not None:
        raise HTTPException(404)
    return Response(generate_latest(services.metrics.registry), media_type=CONTENT_TYPE_LATEST)
