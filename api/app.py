"""The FastAPI application."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from operator import attrgetter
from typing import get_args

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from api.experiments.breaker import Breakers
from api.experiments.fallback import Fallback
from api.experiments.file import Experiments
from api.experiments.shadow import Shadows
from api.http.body_limit import BodyLimit
from api.http.canonical import Canonical, require_plain_query
from api.http.problems import install_error_handler
from api.http.request_context import RequestContext
from api.http.routes import (
    PREFIX,
    classify,
    experiments,
    explain,
    feedback,
    health,
    models,
    page,
    predict,
    reports,
    stream,
    subjects,
)
from api.http.security_headers import SecurityHeaders
from api.http.state import State
from api.keys.callers import Callers
from api.model.client import open_client
from api.model.replicas import Reason
from api.model.replicas import State as ReplicaState
from api.observe.metrics import Metrics
from api.observe.tracing import UNTRACED_PATHS
from api.observe.version import package_version
from api.outcomes.lifespan import open_outcomes
from api.predictor import Predictor
from api.reports.behind import open_counts
from api.server import Drain
from api.settings import Settings
from api.stream.places import Places
from api.workers import CpuPool
from faces.align import Aligner
from faces.detect.choice import Detectors, open_detectors
from faces.finder import FaceFinder

logger = logging.getLogger(__name__)

DESCRIPTION = """A photo goes in; every face in it comes back with a box and a probability for each emotion.

Frames of a camera go over the WebSocket `/v1/stream` (subprotocol `emotion.v1`; docs/api.md has its messages).

Errors are `application/problem+json` (RFC 9457); their `type` is stable.

What it is not: an emotion here is how people who label photos would call an expression. Nobody's feelings are known
by it, and it errs, more for some groups of people than for others. Use it for no decision about a person. In the EU the
AI Act forbids to infer emotions at work and in education, apart from medical and safety reasons (Art. 5(1)(f)), and
people exposed to it must be told (Art. 50(3)): check the law's text.
"""


def create_app(
    settings: Settings,
    detectors: Detectors | None = None,
    drain: Drain | None = None,
    metrics: Metrics | None = None,
) -> FastAPI:
    """Build the application; its lifespan opens and closes what it owns.

    Args:
        detectors: those of the settings when None.
        drain: of the server that runs the application.
        metrics: of that server; its own when None.

    Raises:
        ConfigFileError: the settings name an experiments.yaml or a file of keys that is invalid.
        ModelFileError: the settings name a detector that cannot be had, or a file that is not the detector's.
    """
    metrics = metrics or Metrics()
    drain = drain or Drain()
    configured = Experiments(settings.experiments, settings.models, metrics)
    admin_key = settings.admin_key.get_secret_value() if settings.admin_key else None
    callers = Callers(admin_key, settings.keys_file, metrics)
    detectors = detectors or open_detectors(
        settings.detector,
        yunet=settings.yunet_model,
        sha256=settings.yunet_sha256,
        side=settings.detect_side,
        side_max=settings.detect_side_max,
    )
    metrics.detector_info.info({"detector": detectors.default})
    finder = FaceFinder(
        detectors.by_name,
        Aligner(),
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
        side=settings.detect_side_max,
    )
    app = FastAPI(
        title="emotion-serving",
        description=DESCRIPTION,
        version=package_version(),
        license_info={"name": "MIT", "identifier": "MIT"},
        contact={"name": "emotion-serving"},
        servers=[{"url": "/", "description": "This gateway."}],
        # FastAPI's own pages load their scripts from another host, and its document is rendered anew each time.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=partial(
            _lifespan,
            settings=settings,
            metrics=metrics,
            drain=drain,
            callers=callers,
            experiments=configured,
            detectors=detectors,
            finder=finder,
        ),
        # Methods of generated clients are called as our functions are.
        generate_unique_id_function=attrgetter("name"),
        telemetry={
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": lambda scope: scope["path"] in UNTRACED_PATHS,
        },
    )
    install_error_handler(app, metrics)
    plain = [Depends(require_plain_query)]
    for routes in (predict, explain, experiments, reports, feedback, subjects, models):
        app.include_router(routes.router, prefix=PREFIX, dependencies=plain)
        # What clients of before /v1 ask for.
        app.include_router(routes.router, dependencies=plain, include_in_schema=False)
    app.include_router(classify.router, dependencies=plain)
    app.include_router(stream.router, prefix=PREFIX)
    for routes in (health, page):
        app.include_router(routes.router)
    if settings.metrics_port is None:
        app.include_router(health.metrics_router)
    # The one added last is the outermost.
    limits = {predict.BATCH_PATH: settings.max_batch_bytes, feedback.PATH: feedback.MAX_BYTES}
    app.add_middleware(
        BodyLimit,
        limits=limits,
        default=settings.max_body_bytes,
        memory=settings.body_memory_bytes,
        timeout_s=settings.upload_timeout_s,
        rate=settings.upload_min_rate,
        metrics=metrics,
    )
    metrics.body_bytes_limit.set(settings.body_memory_bytes)
    app.add_middleware(Canonical)
    app.add_middleware(SecurityHeaders)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            # Those of experiments' subjects are named in a file that may change.
            allow_headers=["*"],
            expose_headers=[
                "X-Request-ID",
                "X-Prediction-ID",
                "X-Model",
                "Retry-After",
                "RateLimit",
                "RateLimit-Policy",
            ],
            max_age=3600,
        )
    app.add_middleware(RequestContext, metrics=metrics, drain=drain)
    return app


@asynccontextmanager
async def _lifespan(
    app: FastAPI,
    *,
    settings: Settings,
    metrics: Metrics,
    drain: Drain,
    callers: Callers,
    experiments: Experiments,
    detectors: Detectors,
    finder: FaceFinder,
) -> AsyncIterator[State]:
    """Open what needs the running event loop, so after any fork; close it at the end."""
    logger.info("faces are found by %s: %s", detectors.default, detectors.reason)
    note_version = metrics.label_versions.note

    def note_retry(reason: Reason) -> None:
        metrics.model_server_retries.labels(reason).inc()

    breakers = partial(Breakers, settings.breaker_failures, settings.breaker_open_s)
    # The outcomes close last: they take what the last answers record.
    async with (
        open_outcomes(settings, metrics) as outcomes,
        open_counts(settings) as counts,
        open_client(settings, note_version, note_retry) as client,
        open_client(settings, note_version, note_retry) as shadow_client,
    ):
        with closing(CpuPool(settings.cpu_workers, settings.queue_s)) as pool:
            for state in get_args(ReplicaState):
                metrics.model_server_addresses.labels(state).set_function(partial(client.replicas.count, state))
            metrics.draining.set_function(lambda: drain.active)
            metrics.cpu_workers.set(settings.cpu_workers)
            metrics.cpu_workers_busy.set_function(lambda: pool.busy)
            metrics.cpu_queue_limit_seconds.set(settings.queue_s)
            metrics.cpu_queue_seconds.set_function(lambda: pool.waiting_s)
            metrics.cpu_queue_length.set_function(lambda: pool.waiting)
            fallback = Fallback(breakers(), metrics, settings.model_timeout_s)
            shadows = Shadows(
                shadow_client,
                metrics,
                breakers(),
                busy=lambda: pool.waiting > 0,
                concurrency=settings.shadow_concurrency,
                queue_faces=settings.shadow_queue,
            )
            predictor = Predictor(settings, metrics, pool, finder, client, fallback, shadows, outcomes)
            watched = experiments.watched(settings.experiments_poll_s, outcomes.register_split)
            async with watched, callers.watched(settings.keys_poll_s), shadows.running():
                yield State(
                    settings=settings,
                    metrics=metrics,
                    drain=drain,
                    callers=callers,
                    experiments=experiments,
                    detectors=detectors,
                    fallback=fallback,
                    shadows=shadows,
                    client=client,
                    outcomes=outcomes,
                    predictor=predictor,
                    counts=counts,
                    places=Places(settings.streams_limit, metrics),
                )
