"""Probes and metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from api.errors import NotReady, ServiceError, ShuttingDown
from api.http import openapi
from api.http.schemas import Health, Ready
from api.http.state import ClientDep, DetectorsDep, DrainDep, MetricsDep, SettingsDep
from wire.target import Target

router = APIRouter(tags=["operations"])
# Not where /metrics has a port of its own.
metrics_router = APIRouter(tags=["operations"])


@router.get("/healthz", summary="Alive")
async def healthz() -> Health:
    """The process answers. The model server is left out: no restart of the gateway cures its failures."""
    return Health()


@router.get("/readyz", summary="Ready for predictions", responses=openapi.READY_PROBLEMS)
async def readyz(settings: SettingsDep, client: ClientDep, drain: DrainDep, detectors: DetectorsDep) -> Ready:
    """The model server would answer a request that names no model; if not, the problem says why.

    No as well when the gateway has been told to stop, although it still serves: send requests elsewhere.
    """
    if drain.active:
        raise ShuttingDown("The gateway has been told to stop.")
    try:
        await client.check_ready(Target(settings.default_model, label=settings.default_label))
    except ServiceError as error:
        raise NotReady(error.detail, reason=error.problem()["type"]) from error
    return Ready(detector=detectors.default)


@metrics_router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request, metrics: MetricsDep) -> Response:
    """In OpenMetrics' format, which has exemplars, for who accepts it, as Prometheus does; else in Prometheus' own."""
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(metrics.registry), media_type=media_type)
