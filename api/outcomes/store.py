"""What is written to the outcome database and looked up in it, one transaction each."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.errors import UnknownExperiment
from api.outcomes.database import SchemaError
from api.outcomes.ids import lowest_id
from api.outcomes.records import PredictionRecord
from api.outcomes.tables import assignments, faces, feedback, predictions, splits

# What a database that is down, slow, full, not yet migrated, or none at all raises.
DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError, SchemaError)

_PRUNED_AT_ONCE = 500
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Split:
    """How an experiment divides its traffic. id: its split_id; weights: by variant, in any unit; first_seen: aware."""

    id: str
    experiment: str
    control: str
    weights: Mapping[str, float]
    first_seen: datetime


@dataclass(frozen=True, slots=True)
class Assignments:
    """Requests that one run of a gateway assigned by a split to a variant, and how many of them are stored."""

    run: str
    split: str
    variant: str
    assigned: int
    stored: int


@dataclass(frozen=True, slots=True)
class StoredPrediction:
    """What feedback needs to know. emotions: as predicted, face by face."""

    id: str
    experiment: str | None
    variant: str | None
    classes: tuple[str, ...]
    emotions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Feedback:
    """One person's word on one face. emotion: None when only right or wrong was said."""

    prediction_id: str
    face: int
    emotion: str | None
    correct: bool
    received_at: datetime


class OutcomeStore:
    """Every method raises one of DATABASE_ERRORS when the database cannot do it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        # Their transactions take no lock that a writer would wait for.
        self.readers = engine.execution_options(reads_only=True)

    async def add(self, batch: Sequence[PredictionRecord], changed: Iterable[Split] = ()) -> None:
        """Write predictions and splits. Those that are there already stay as they are: a batch may be repeated."""
        async with self.engine.begin() as connection:
            noted = [asdict(split) for split in changed]
            if noted:
                await connection.execute(_insert(connection, splits).on_conflict_do_nothing(), noted)
            if batch:
                await connection.execute(
                    _insert(connection, predictions).on_conflict_do_nothing(), list(map(_row, batch))
                )
            rows = [row for prediction in batch for row in _face_rows(prediction)]
            if rows:
                await connection.execute(_insert(connection, faces).on_conflict_do_nothing(), rows)

    async def put_assignments(self, counts: Sequence[Assignments]) -> None:
        """Write absolute counts; the last ones of a run, split and variant win."""
        async with self.engine.begin() as connection:
            statement = _insert(connection, assignments)
            changed = {name: statement.excluded[name] for name in ("assigned", "stored")}
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["run", "split", "variant"], set_=changed),
                [asdict(count) for count in counts],
            )

    async def find(self, prediction_id: str) -> StoredPrediction | None:
        async with self.readers.connect() as connection:
            found = (
                await connection.execute(
                    select(predictions.c.experiment, predictions.c.variant, predictions.c.classes).where(
                        predictions.c.id == prediction_id
                    )
                )
            ).one_or_none()
            if found is None:
                return None
            emotions = await connection.scalars(
                select(faces.c.emotion).where(faces.c.prediction_id == prediction_id).order_by(faces.c.face)
            )
            return StoredPrediction(
                prediction_id, found.experiment, found.variant, tuple(found.classes), tuple(emotions)
            )

    async def put_feedback(self, given: Feedback) -> None:
        """The last one for a face wins. Raises IntegrityError when the prediction is gone."""
        values = {
            "prediction_id": given.prediction_id,
            "face": given.face,
            "emotion": given.emotion,
            "correct": given.correct,
            "received_at": given.received_at,
        }
        async with self.engine.begin() as connection:
            statement = _insert(connection, feedback).values(values)
            changed = {name: statement.excluded[name] for name in ("emotion", "correct", "received_at")}
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["prediction_id", "face"], set_=changed)
            )

    async def prune(self, before: datetime) -> int:
        """Delete predictions made before this moment with all that belongs to them; returns how many they were."""
        oldest = (
            select(predictions.c.id)
            .where(predictions.c.id < lowest_id(before))
            .order_by(predictions.c.id)
            .limit(_PRUNED_AT_ONCE)
        )
        total = 0
        while True:
            # Small transactions: a long one would keep the writers of all replicas waiting.
            async with self.engine.begin() as connection:
                deleted = await connection.execute(delete(predictions).where(predictions.c.id.in_(oldest)))
            total += deleted.rowcount
            if deleted.rowcount < _PRUNED_AT_ONCE:
                return total

    async def split(self, experiment: str, present: str | None = None) -> Split:
        """The split of that id, or else the one that was in use last: what was first seen, or last used, latest.

        Raises UnknownExperiment.
        """
        async with self.readers.connect() as connection:
            used = select(predictions.c.split, func.max(predictions.c.created_at)).where(
                predictions.c.experiment == experiment
            )
            last = {row[0]: row[1] for row in await connection.execute(used.group_by(predictions.c.split))}
            rows = await connection.execute(select(splits).where(splits.c.experiment == experiment))
            found = [Split(**row._mapping) for row in rows]
            if not found:
                names = await connection.scalars(select(splits.c.experiment).distinct().order_by(splits.c.experiment))
                raise UnknownExperiment(repr(experiment), list(names))
        return max(found, key=lambda split: (split.id == present, max(split.first_seen, last.get(split.id, _NEVER))))


def _insert(connection: AsyncConnection, table: Table) -> Any:
    # Both have ON CONFLICT in the same words, but SQLAlchemy keeps it out of the common insert().
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def _row(prediction: PredictionRecord) -> dict[str, Any]:
    return {
        "id": prediction.id,
        "created_at": prediction.created_at,
        "experiment": prediction.experiment,
        "variant": prediction.variant,
        "split": prediction.split,
        "fallback": prediction.fallback,
        "forced": prediction.forced,
        "model": prediction.model,
        "version": prediction.version,
        "subject": prediction.subject,
        "classes": list(prediction.classes),
        "faces": len(prediction.faces),
        "latency_ms": prediction.latency_ms,
    }


def _face_rows(prediction: PredictionRecord) -> list[dict[str, Any]]:
    return [
        {
            "prediction_id": prediction.id,
            "face": index,
            "emotion": face.emotion,
            "confidence": face.confidence,
            "probabilities": list(face.probabilities),
        }
        for index, face in enumerate(prediction.faces)
    ]
