"""Databases of both kinds, and what is recorded in them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.experiments.config import Experiment
from api.observe.metrics import Metrics
from api.outcomes import tables
from api.outcomes.ids import new_id
from api.outcomes.lifespan import open_outcomes
from api.outcomes.records import FaceRecord, PredictionRecord
from api.outcomes.writer import OutcomeWriter
from api.settings import Settings
from tests.api.in_process import in_process

ADMIN_KEY = "a key of the tests"

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database: each test runs on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/outcomes.db"
    return request.getfixturevalue("postgres").create_database()


OpenOutcomes = Callable[..., AbstractAsyncContextManager[OutcomeWriter]]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def value(metrics: Metrics) -> Callable[..., float]:
    """A sample of the test's metrics."""

    def run(name: str, **labels: str) -> float:
        found = metrics.registry.get_sample_value(name, labels)
        assert found is not None, name
        return found

    return run


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Returns once the condition holds; fails after 30 seconds."""

    async def run(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - what is waited for is in another thread or process
                await asyncio.sleep(0.01)

    return run


@pytest.fixture
def open_store(database_url: str, metrics: Metrics) -> OpenOutcomes:
    """Opens the outcomes of one gateway on the test's database."""

    @asynccontextmanager
    async def run(**settings: object) -> AsyncIterator[OutcomeWriter]:
        defaults = {"database_url": database_url, "subject_secret": "s" * 16, "outcome_flush_s": 0.01}
        async with open_outcomes(Settings(**{**defaults, **settings}), metrics) as outcomes:
            yield outcomes

    return run


@pytest.fixture
async def outcomes(open_store: OpenOutcomes) -> AsyncIterator[OutcomeWriter]:
    async with open_store() as opened:
        yield opened


@pytest.fixture
async def gateway(database_url: str) -> AsyncIterator[tuple[httpx.AsyncClient, OutcomeWriter]]:
    """A gateway whose model server nobody asks, and its outcomes."""
    settings = Settings(
        database_url=database_url,
        admin_key=ADMIN_KEY,
        subject_secret="s" * 16,
        outcome_flush_s=60,
        model_server="127.0.0.1:9",
    )
    app = create_app(settings)
    async with in_process(app, headers={"X-Admin-Key": ADMIN_KEY}) as (client, state):
        yield client, state["outcomes"]


@pytest.fixture
def race() -> Callable[..., Experiment]:
    """The experiment `race` with these weights by variant; the first one is the control."""

    def run(**weights: float) -> Experiment:
        variants = [{"name": name, "model": "residual", "version": 1, "weight": of} for name, of in weights.items()]
        return Experiment.model_validate({"name": "race", "start": "2020-01-01T00:00:00Z", "variants": variants})

    return run


@pytest.fixture
def make() -> Callable[..., PredictionRecord]:
    """A prediction of one happy face unless told otherwise."""

    def run(*emotions: str, **fields: Any) -> PredictionRecord:
        at = fields.get("created_at", datetime.now(UTC))
        faces = tuple(FaceRecord(emotion, 0.7, (0.05,) * 6 + (0.7,)) for emotion in emotions or ("happy",))
        values = {
            "id": new_id(at),
            "created_at": at,
            "experiment": "race",
            "variant": "a",
            "split": "present",
            "fallback": False,
            "forced": False,
            "model": "residual",
            "version": 1,
            "subject": None,
            "classes": CLASSES,
            "faces": faces,
            "latency_ms": 12.5,
        }
        return PredictionRecord(**{**values, **fields})

    return run


@pytest.fixture
def rows() -> Callable[[OutcomeWriter, Any], Awaitable[list[Any]]]:
    """Every row of a table."""

    async def run(outcomes: OutcomeWriter, table: Any) -> list[Any]:
        async with outcomes.store.readers.connect() as connection:
            return list(await connection.execute(table.select()))

    return run


@pytest.fixture
def fill(make: Callable[..., PredictionRecord]) -> Callable[..., Awaitable[list[PredictionRecord]]]:
    """Stores `count` predictions of one face each, of which the first `right` get feedback that agrees, the others
    feedback that the face is sad; subjects: how many there are, one after the other."""

    async def run(
        outcomes: OutcomeWriter, variant: str, count: int, right: int, subjects: int | None = None, **fields: Any
    ) -> list[PredictionRecord]:
        await outcomes.ready()
        batch = [
            make(
                variant=variant, subject=None if subjects is None else f"{variant}{index * subjects // count}", **fields
            )
            for index in range(count)
        ]
        given = [
            {
                "prediction_id": prediction.id,
                "face": 0,
                "emotion": "happy" if index < right else "sad",
                "correct": index < right,
                "received_at": datetime.now(UTC),
            }
            for index, prediction in enumerate(batch)
        ]
        await outcomes.store.add(batch)
        async with outcomes.store.engine.begin() as connection:
            await connection.execute(tables.feedback.insert(), given)
        return batch

    return run
