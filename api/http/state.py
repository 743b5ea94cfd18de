"""What the application's lifespan makes, and how endpoints ask for each part of it by type."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypedDict

from fastapi import Depends, Request

from api.experiments.fallback import Fallback
from api.experiments.file import Experiments
from api.experiments.shadow import Shadows
from api.keys.callers import Callers
from api.model.client import ModelClient
from api.observe.metrics import Metrics
from api.outcomes.writer import OutcomeWriter
from api.predictor import Predictor
from api.reports.behind import CountsBehind
from api.server import Drain
from api.settings import Settings
from api.stream.places import Places
from faces.detect.choice import Detectors


class State(TypedDict):
    """Starlette hands it to each request."""

    settings: Settings
    metrics: Metrics
    drain: Drain
    callers: Callers
    experiments: Experiments
    detectors: Detectors
    fallback: Fallback
    shadows: Shadows
    client: ModelClient
    outcomes: OutcomeWriter
    predictor: Predictor
    counts: CountsBehind
    places: Places


class AppRequest(Request[State]):
    """A request of this application, for the type checker."""


def _part(name: str) -> Callable[[AppRequest], Awaitable[object]]:
    # A coroutine, because FastAPI would run a function in a thread.
    async def part(request: AppRequest) -> object:
        return request.state[name]  # type: ignore[literal-required]

    return part


SettingsDep = Annotated[Settings, Depends(_part("settings"))]
MetricsDep = Annotated[Metrics, Depends(_part("metrics"))]
DrainDep = Annotated[Drain, Depends(_part("drain"))]
CallersDep = Annotated[Callers, Depends(_part("callers"))]
ExperimentsDep = Annotated[Experiments, Depends(_part("experiments"))]
DetectorsDep = Annotated[Detectors, Depends(_part("detectors"))]
FallbackDep = Annotated[Fallback, Depends(_part("fallback"))]
ShadowsDep = Annotated[Shadows, Depends(_part("shadows"))]
ClientDep = Annotated[ModelClient, Depends(_part("client"))]
OutcomesDep = Annotated[OutcomeWriter, Depends(_part("outcomes"))]
CountsDep = Annotated[CountsBehind, Depends(_part("counts"))]
PredictorDep = Annotated[Predictor, Depends(_part("predictor"))]
