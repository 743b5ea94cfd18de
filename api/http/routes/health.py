"""Probes and metrics."""

from fastapi import APIRouter, Request, Response

from api.errors import NotReady, ServiceError, ShuttingDown
from api.http import openapi
from api.http.dependencies import DrainDep, GatewayDep, default_target
from api.http.schemas import Health

router = APIRouter(tags=["operations"])


@router.get("/healthz", summary="Alive")
async def healthz() -> Health:
    """The process answers. The model server is left out: no restart of the gateway cures its failures."""
    return Health()


@router.get("/readyz", summary="Ready for predictions", responses=openapi.READY_PROBLEMS)
async def readyz(gateway: GatewayDep, drain: DrainDep) -> Health:
    """The model server would answer a request that names no model; if not, the problem says why.

    No as well when the gateway has been told to stop, although it still serves: send requests elsewhere.
    """
    if drain.active:
        raise ShuttingDown("The gateway has been told to stop.")
    target = default_target(gateway.settings, gateway.settings.default_model)
    try:
        await gateway.client.check_ready(target)
    except ServiceError as error:
        raise NotReady(error.detail, reason=error.problem()["type"]) from error
    return Health()


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request, gateway: GatewayDep) -> Response:
    """In OpenMetrics' format, which has exemplars, for who accepts it, as Prometheus does; else in Prometheus' own."""
    content, media_type = gateway.metrics.render(request.headers.get("accept", ""))
    return Response(content, media_type=media_type)
