"""What the application's lifespan makes, and how endpoints ask for each part of it by type."""

from typing import Annotated, TypedDict

from fastapi import Depends, Request

from api.experiments.fallback import Fallback
from api.experiments.file import Experiments
from api.experiments.shadow import Shadows
from api.model.client import ModelClient
from api.observe.metrics import Metrics
from api.outcomes.writer import OutcomeWriter
from api.predictor import Predictor
from api.server import Drain
from api.settings import Settings


class State(TypedDict):
    """Starlette hands it to each request."""

    settings: Settings
    metrics: Metrics
    drain: Drain
    experiments: Experiments
    fallback: Fallback
    shadows: Shadows
    client: ModelClient
    outcomes: OutcomeWriter
    predictor: Predictor


class AppRequest(Request[State]):
    """A request of this application, for the type checker."""


# Coroutines, because FastAPI would run functions in a thread.


async def _settings(request: AppRequest) -> Settings:
    return request.state["settings"]


async def _metrics(request: AppRequest) -> Metrics:
    return request.state["metrics"]


async def _drain(request: AppRequest) -> Drain:
    return request.state["drain"]


async def _experiments(request: AppRequest) -> Experiments:
    return request.state["experiments"]


async def _fallback(request: AppRequest) -> Fallback:
    return request.state["fallback"]


async def _shadows(request: AppRequest) -> Shadows:
    return request.state["shadows"]


async def _client(request: AppRequest) -> ModelClient:
    return request.state["client"]


async def _outcomes(request: AppRequest) -> OutcomeWriter:
    return request.state["outcomes"]


async def _predictor(request: AppRequest) -> Predictor:
    return request.state["predictor"]


SettingsDep = Annotated[Settings, Depends(_settings)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
DrainDep = Annotated[Drain, Depends(_drain)]
ExperimentsDep = Annotated[Experiments, Depends(_experiments)]
FallbackDep = Annotated[Fallback, Depends(_fallback)]
ShadowsDep = Annotated[Shadows, Depends(_shadows)]
ClientDep = Annotated[ModelClient, Depends(_client)]
OutcomesDep = Annotated[OutcomeWriter, Depends(_outcomes)]
PredictorDep = Annotated[Predictor, Depends(_predictor)]
