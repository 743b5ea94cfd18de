"""The FastAPI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api.experiments.file import Experiments
from api.http.middleware import BodyLimit, RequestContext
from api.http.problems import install_error_handler
from api.http.routes import batch, experiments, feedback, health, models, page, predict, reports
from api.observe.metrics import Metrics
from api.observe.tracing import UNTRACED_PATHS
from api.observe.version import package_version
from api.outcomes.lifespan import open_outcomes
from api.predictor import open_gateway
from api.server import Drain
from api.settings import Settings
from faces.detect import FaceDetector
from faces.detect.haar import HaarDetector

DESCRIPTION = """A photo goes in; every face in it comes back with a box and a probability for each emotion.

Errors are `application/problem+json` (RFC 9457); their `type` is stable.
"""


def create_app(settings: Settings, detector: FaceDetector | None = None) -> FastAPI:
    """Build the application; its lifespan opens and closes what it owns. detector: Haar when None.

    `state.drain` of the result is for the server that runs it. Raises ExperimentsError when the settings name an
    experiments.yaml that is invalid.
    """
    metrics = Metrics()
    drain = Drain()
    metrics.watch_drain(lambda: drain.active)
    running = Experiments(settings.experiments, settings.models, metrics.experiments)
    face_detector = detector or HaarDetector(settings.detect_side)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # The outcomes close last: they take what the gateway's last answers record.
        async with (
            open_outcomes(settings, metrics) as outcomes,
            open_gateway(settings, metrics, face_detector, running, outcomes) as gateway,
        ):
            app.state.gateway = gateway
            yield

    app = FastAPI(
        title="emotion-serving",
        description=DESCRIPTION,
        version=package_version(),
        lifespan=lifespan,
        telemetry={
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": lambda scope: scope["path"] in UNTRACED_PATHS,
        },
    )
    app.state.drain = drain
    install_error_handler(app, metrics)
    for routes in (predict, batch, experiments, reports, feedback, models, health, page):
        app.include_router(routes.router)

    def body_limit(path: str) -> int:
        return settings.max_batch_bytes if path == batch.PATH else settings.max_body_bytes

    # The one added last is the outermost.
    app.add_middleware(BodyLimit, limit_of=body_limit)
    app.add_middleware(RequestContext, metrics=metrics, drain=drain)
    return app
