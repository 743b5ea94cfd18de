"""What is written to the outcome database and looked up in it, one transaction each."""

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.errors import UnknownExperiment
from api.outcomes.database import SchemaError
from api.outcomes.ids import lowest_id
from api.outcomes.migrate import migrate
from api.outcomes.records import FaceRecord, PredictionRecord
from api.outcomes.tables import assignments, faces, feedback, predictions, splits

# What a database that is down, slow, full, not yet migrated, or none at all raises.
DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError, SchemaError)

_PRUNED_AT_ONCE = 500
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Split:
    """How an experiment divides its traffic."""

    # The experiment's split_id.
    id: str
    experiment: str
    control: str
    # By variant, in any unit.
    weights: Mapping[str, float]
    # Aware.
    first_seen: datetime


@dataclass(frozen=True, slots=True)
class Assignments:
    """Requests that one run of a gateway assigned by a split to a variant."""

    run: str
    split: str
    variant: str
    assigned: int
    # How many of them have a prediction in the database.
    stored: int


@dataclass(frozen=True, slots=True)
class StoredPrediction:
    """What feedback needs to know."""

    id: str
    experiment: str | None
    variant: str | None
    classes: tuple[str, ...]
    # As predicted, face by face.
    emotions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Feedback:
    """One person's word on one face."""

    prediction_id: str
    face: int
    # None when only right or wrong was said.
    emotion: str | None
    correct: bool
    received_at: datetime


class OutcomeStore:
    """Every method raises one of DATABASE_ERRORS when the database cannot do it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        # Their transactions take no lock that a writer would wait for.
        self.readers = engine.execution_options(reads_only=True)

    async def migrate(self) -> None:
        """Upgrade the tables to those of this code."""
        # A thread, because Alembic knows no event loop.
        await asyncio.to_thread(migrate, self.engine.url)

    async def add(self, batch: Sequence[PredictionRecord]) -> None:
        """Write predictions. Those that are there already stay as they are: a batch may be repeated."""
        rows = [_row(prediction, faces=len(prediction.faces)) for prediction in batch]
        of_faces = [
            _row(face, prediction_id=prediction.id, face=index)
            for prediction in batch
            for index, face in enumerate(prediction.faces)
        ]
        async with self.engine.begin() as connection:
            await _add(connection, predictions, rows)
            await _add(connection, faces, of_faces)

    async def add_splits(self, changed: Iterable[Split]) -> None:
        """Write splits. The first one to see a split tells when that was."""
        async with self.engine.begin() as connection:
            await _add(connection, splits, [asdict(split) for split in changed])

    async def put_assignments(self, counts: Iterable[Assignments]) -> None:
        """Write absolute counts; the last ones of a run, split and variant win."""
        await self._put(assignments, [asdict(count) for count in counts])

    async def put_feedback(self, given: Feedback) -> None:
        """The last one for a face wins. Raises IntegrityError when the prediction is gone."""
        await self._put(feedback, [asdict(given)])

    async def _put(self, table: Table, rows: list[dict[str, Any]]) -> None:
        async with self.engine.begin() as connection:
            statement = _insert(connection, table)
            changed = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
            await connection.execute(
                statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed), rows
            )

    async def find(self, prediction_id: str) -> StoredPrediction | None:
        query = (
            select(predictions.c.experiment, predictions.c.variant, predictions.c.classes, faces.c.emotion)
            .select_from(predictions.outerjoin(faces))
            .where(predictions.c.id == prediction_id)
            .order_by(faces.c.face)
        )
        async with self.readers.connect() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            return None
        experiment, variant, classes, _ = rows[0]
        emotions = tuple(row.emotion for row in rows if row.emotion is not None)
        return StoredPrediction(prediction_id, experiment, variant, tuple(classes), emotions)

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

    async def erase(self, subject: str) -> int:
        """Delete a subject's predictions with all that belongs to them; returns how many they were.

        Args:
            subject: its hash, as it is stored.
        """
        async with self.readers.connect() as connection:
            ids = list(await connection.scalars(select(predictions.c.id).where(predictions.c.subject == subject)))
        total = 0
        for start in range(0, len(ids), _PRUNED_AT_ONCE):
            async with self.engine.begin() as connection:
                some = ids[start : start + _PRUNED_AT_ONCE]
                total += (await connection.execute(delete(predictions).where(predictions.c.id.in_(some)))).rowcount
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


async def _add(connection: AsyncConnection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        await connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows)


def _insert(connection: AsyncConnection, table: Table) -> Any:
    # Both have ON CONFLICT in the same words, but SQLAlchemy keeps it out of the common insert().
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def _row(record: PredictionRecord | FaceRecord, **others: Any) -> dict[str, Any]:
    """Its fields as they are: asdict() copies what is in them, and holds the event loop ten times as long."""
    return {field.name: getattr(record, field.name) for field in fields(record)} | others
