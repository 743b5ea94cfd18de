"""Probes and metrics."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from api.errors import NotReady, ServiceError
from api.routes import openapi
from api.routes.dependencies import GatewayDep, default_target
from api.schemas import Health

router = APIRouter(tags=["operations"])


@router.get("/healthz", summary="Alive")
async def healthz() -> Health:
    """The process answers. The model server is left out: no restart of the gateway cures its failures."""
    return Health()


@router.get("/readyz", summary="Ready for predictions", responses=openapi.READY_PROBLEMS)
async def readyz(gateway: GatewayDep) -> Health:
    """The model server would answer a request that names no model; if not, the problem says why."""
    target = default_target(gateway.settings, gateway.settings.default_model)
    try:
        await gateway.client.check_ready(target)
    except ServiceError as error:
        raise NotReady(error.detail, reason=error.problem()["type"]) from error
    return Health()


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(gateway: GatewayDep) -> Response:
    return Response(gateway.metrics.render(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
