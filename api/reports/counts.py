"""What a report counts, summed up by the database: no row of a prediction leaves it.

Only what was assigned under the present split counts: shares, traffic and faces differ from one split to the next, and
pooling them would show differences that no variant makes (Simpson 1951, "The interpretation of interaction in
contingency tables", JRSS B 13:238-241). A forced request was not assigned by the split, so it counts nowhere. A request
that fell back was answered by the control's model: it counts for the variant that it was assigned to among requests,
fallbacks, activity and latency (its subject did wait that long), nowhere else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, false, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.outcomes.store import Split
from api.outcomes.tables import assignments, faces, feedback, predictions
from api.reports.proportions import Activity, Proportion

QUANTILES = (0.5, 0.95, 0.99)

# Who or what the split assigns: a subject, or a request that names none.
_UNIT = func.coalesce(predictions.c.subject, predictions.c.id)


@dataclass(slots=True)
class Tally:
    """One variant. activity: of subjects (a request without one is one of its own); of them fell_back had a fallback
    and answered a face from the variant itself. assigned: requests by the gateways' count; lost: those of them that
    failed or are not stored.

    answers: requests by (model, version); emotions: faces by predicted emotion; latency_ms: by quantile; accuracy: over
    faces with feedback in clusters by unit, None without any; confusion: faces by (true, predicted) emotion, where the
    feedback names the true one.
    """

    assigned: int = 0
    lost: int = 0
    requests: int = 0
    fallbacks: int = 0
    fell_back: int = 0
    answered: int = 0
    activity: Activity = field(default_factory=lambda: Activity(0, 0, 0))
    faces: int = 0
    answers: dict[tuple[str, int], int] = field(default_factory=dict)
    emotions: dict[str, int] = field(default_factory=dict)
    latency_ms: dict[float, float] = field(default_factory=dict)
    accuracy: Proportion | None = None
    confusion: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tallies:
    """variants: by name, in the split's order; classes: the names of the model's; elsewhere: requests of the same
    experiment that other splits assigned.
    """

    variants: Mapping[str, Tally]
    classes: tuple[str, ...]
    elsewhere: int


async def tally(engine: AsyncEngine, split: Split) -> Tallies:
    """What was predicted under a split. All is read in one snapshot."""
    async with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execution_options(isolation_level="REPEATABLE READ")
        return await _Reader(connection, split).read()


class _Reader:
    def __init__(self, connection: AsyncConnection, split: Split) -> None:
        self._connection = connection
        self._split = split
        self._of_all_splits = and_(predictions.c.experiment == split.experiment, predictions.c.forced == false())
        self._assigned = and_(self._of_all_splits, predictions.c.split == split.id)
        self._own = and_(self._assigned, predictions.c.fallback == false())

    async def read(self) -> Tallies:
        tallies = {name: Tally() for name in self._split.weights}
        answered = and_(predictions.c.faces > 0, predictions.c.fallback == false())
        counts = (
            func.count().label("requests"),
            func.sum(case((predictions.c.fallback, 1), else_=0)).label("fallbacks"),
            func.count(case((predictions.c.fallback, _UNIT)).distinct()).label("fell_back"),
            func.count(case((answered, _UNIT)).distinct()).label("answered"),
        )
        for row in await self._rows(self._assigned, *counts):
            one = tallies[row.variant]
            one.requests, one.fallbacks = row.requests, row.fallbacks
            one.fell_back, one.answered = row.fell_back, row.answered
        for row in await self._connection.execute(_assigned(self._split.id)):
            one = tallies[row.variant]
            one.assigned, one.lost = int(row.assigned), int(row.assigned - row.stored)
        for row in await self._connection.execute(_activity(self._assigned)):
            tallies[row.variant].activity = Activity(*map(int, row[1:]))
        by_version = (predictions.c.model, predictions.c.version)
        for row in await self._rows(
            self._own,
            func.count().label("requests"),
            func.sum(predictions.c.faces).label("faces"),
            by=by_version,
        ):
            one = tallies[row.variant]
            one.answers[row.model, row.version] = row.requests
            one.faces += row.faces
        await self._read_faces(tallies)
        for name, one in tallies.items():
            one.latency_ms = await self._latency(name, one.requests)
        return Tallies(tallies, await self._classes(), await self._elsewhere())

    async def _read_faces(self, tallies: Mapping[str, Tally]) -> None:
        with_faces = predictions.join(faces)
        for row in await self._rows(self._own, func.count().label("faces"), by=(faces.c.emotion,), of=with_faces):
            tallies[row.variant].emotions[row.emotion] = row.faces
        with_feedback = with_faces.join(feedback)
        named = and_(self._own, feedback.c.emotion.is_not(None))
        pair = (feedback.c.emotion.label("truth"), faces.c.emotion.label("predicted"))
        for row in await self._rows(named, func.count().label("faces"), by=pair, of=with_feedback):
            tallies[row.variant].confusion[row.truth, row.predicted] = row.faces
        for row in await self._connection.execute(_clusters(self._own)):
            tallies[row.variant].accuracy = Proportion(*map(int, row[1:]))

    async def _rows(
        self, where: ColumnElement[bool], *columns: Any, by: Sequence[Any] = (), of: Any = predictions
    ) -> Sequence[Any]:
        query = select(predictions.c.variant, *by, *columns).select_from(of).where(where)
        return (await self._connection.execute(query.group_by(predictions.c.variant, *by))).all()

    async def _latency(self, variant: str, count: int) -> dict[float, float]:
        """Nearest-rank quantiles, in milliseconds; SQLite has no function for them."""
        ordered = (
            select(predictions.c.latency_ms)
            .where(self._assigned, predictions.c.variant == variant)
            .order_by(predictions.c.latency_ms)
            .limit(1)
        )
        found = {}
        for quantile in QUANTILES if count else ():
            found[quantile] = float(
                (await self._connection.execute(ordered.offset(ceil(quantile * count) - 1))).scalar_one()
            )
        return found

    async def _elsewhere(self) -> int:
        others = select(func.count()).where(self._of_all_splits, predictions.c.split != self._split.id)
        return (await self._connection.execute(others)).scalar_one()

    async def _classes(self) -> tuple[str, ...]:
        newest = select(predictions.c.classes).where(self._own, predictions.c.faces > 0)
        return tuple(await self._connection.scalar(newest.order_by(predictions.c.created_at.desc()).limit(1)) or ())


def _assigned(split_id: str) -> Select[Any]:
    sums = (func.sum(assignments.c[name]).label(name) for name in ("assigned", "stored"))
    query = select(assignments.c.variant, *sums).where(assignments.c.split == split_id)
    return query.group_by(assignments.c.variant)


def _activity(assigned: ColumnElement[bool]) -> Select[Any]:
    """Columns after the variant as in Activity."""
    units = (
        select(predictions.c.variant, func.count().label("n"))
        .where(assigned)
        .group_by(predictions.c.variant, _UNIT)
        .subquery()
    )
    n = units.c.n
    return select(units.c.variant, func.count(), func.sum(n), func.sum(n * n)).group_by(units.c.variant)


def _clusters(own: ColumnElement[bool]) -> Select[Any]:
    """Columns after the variant as in Proportion."""
    correct = case((feedback.c.correct, 1), else_=0)
    units = (
        select(predictions.c.variant, func.count().label("n"), func.sum(correct).label("s"))
        .select_from(predictions.join(faces).join(feedback))
        .where(own)
        .group_by(predictions.c.variant, _UNIT)
        .subquery()
    )
    n, s = units.c.n, units.c.s
    sums = (func.sum(n), func.sum(s), func.count(), func.sum(n * n), func.sum(s * s), func.sum(n * s))
    return select(units.c.variant, *sums).group_by(units.c.variant)
