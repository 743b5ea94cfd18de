"""What is written to the outcome database and looked up in it, one transaction each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alembic.util import CommandError
from sqlalchemy import Table, delete, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.experiments.records import PredictionRecord
from api.ids import lowest_id
from api.outcomes.tables import faces, feedback, predictions, splits

# What a database that is down, slow, full or not yet migrated raises.
DATABASE_ERRORS = (SQLAlchemyError, OSError, CommandError)

_PRUNED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Split:
    """How an experiment divides its traffic. weights: by variant, in any unit; since: aware."""

    experiment: str
    control: str
    weights: Mapping[str, float]
    since: datetime


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
            for split in changed:
                await _add_split(connection, split)
            if batch:
                await connection.execute(
                    _insert(connection, predictions).on_conflict_do_nothing(), list(map(_row, batch))
                )
            rows = [row for prediction in batch for row in _face_rows(prediction)]
            if rows:
                await connection.execute(_insert(connection, faces).on_conflict_do_nothing(), rows)

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

    async def splits(self) -> dict[str, Split]:
        """The present split of every experiment that was ever seen, by name."""
        async with self.readers.connect() as connection:
            rows = await connection.execute(select(splits).order_by(splits.c.id))
            return {row.experiment: Split(row.experiment, row.control, row.weights, row.since) for row in rows}


def _insert(connection: AsyncConnection, table: Table) -> Any:
    # Both have ON CONFLICT in the same words, but SQLAlchemy keeps it out of the common insert().
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


async def _add_split(connection: AsyncConnection, split: Split) -> None:
    if connection.dialect.name == "postgresql":
        # Replicas that read the same edit write it once.
        await connection.execute(text("LOCK TABLE splits IN SHARE ROW EXCLUSIVE MODE"))
    latest = (
        await connection.execute(
            select(splits.c.control, splits.c.weights)
            .where(splits.c.experiment == split.experiment)
            .order_by(splits.c.id.desc())
            .limit(1)
        )
    ).one_or_none()
    if latest is None or (latest.control, latest.weights) != (split.control, dict(split.weights)):
        await connection.execute(
            splits.insert().values(
                experiment=split.experiment, since=split.since, control=split.control, weights=dict(split.weights)
            )
        )


def _row(prediction: PredictionRecord) -> dict[str, Any]:
    return {
        "id": prediction.id,
        "created_at": prediction.created_at,
        "experiment": prediction.experiment,
        "variant": prediction.variant,
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
