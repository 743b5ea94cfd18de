"""What a report counts, summed up by the database: no row of a prediction leaves it.

docs/experiments.md says which request counts where, and why.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, false, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.outcomes.store import Split
from api.outcomes.tables import assignments, faces, feedback, predictions
from api.reports.proportions import Proportion

QUANTILES = (0.5, 0.95, 0.99)

# Whom or what the split assigns: a subject, or a request that names none.
_UNIT = func.coalesce(predictions.c.subject, predictions.c.id)
_VARIANT = predictions.c.variant
_ID = predictions.c.id
# Of the milliseconds that an id begins with, hexadecimal; and how many pieces of time are counted apart.
_TIME_DIGITS = 12
_MAX_PIECES = 800
_WITH_FACES = predictions.join(faces)
_WITH_FEEDBACK = _WITH_FACES.join(feedback)


@dataclass(slots=True)
class Tally:
    """The counts of one variant. A unit is a subject, or a request without one."""

    # Requests by the gateways' own count; those of them that failed or are not stored.
    assigned: int = 0
    lost: int = 0
    # Requests that are stored; those of them that the control answered.
    requests: int = 0
    fallbacks: int = 0
    # Units; those with a fallback; those to whom the variant itself answered with a face.
    units: int = 0
    fell_back: int = 0
    answered: int = 0
    faces: int = 0
    # Requests by the (model, version) that answered.
    answers: dict[tuple[str, int], int] = field(default_factory=dict)
    # Faces by predicted emotion.
    emotions: dict[str, int] = field(default_factory=dict)
    # By quantile; empty without requests.
    latency_ms: dict[float, float] = field(default_factory=dict)
    # Of faces with feedback, in clusters by unit. None without any.
    accuracy: Proportion | None = None
    # The same of the predictions until then, by time.
    history: dict[datetime, Proportion] = field(default_factory=dict)
    # Faces by (true, predicted) emotion, where the feedback names the true one.
    confusion: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tallies:
    # By name, in the split's order.
    variants: Mapping[str, Tally]
    # The names of the model's classes, in its order.
    classes: tuple[str, ...]
    # Requests of the same experiment that other splits assigned.
    elsewhere: int


async def tally(engine: AsyncEngine, split: Split) -> Tallies:
    """What was predicted under a split. All is read in one snapshot."""
    async with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execution_options(isolation_level="REPEATABLE READ")
        return await _read(connection, split)


async def _read(connection: AsyncConnection, split: Split) -> Tallies:
    tallies = {name: Tally() for name in split.weights}
    of_all_splits = and_(predictions.c.experiment == split.experiment, predictions.c.forced == false())
    assigned = and_(of_all_splits, predictions.c.split == split.id)
    own = and_(assigned, predictions.c.fallback == false())

    async def each(query: Select[Any]) -> Iterable[tuple[Tally, Any]]:
        """Every row, with the tally of the variant that its first column names."""
        return [(tallies[row[0]], row[1:]) for row in await connection.execute(query)]

    for one, row in await each(_requests(assigned)):
        one.requests, one.fallbacks, one.units, one.fell_back, one.answered = row
    for one, (requests, stored) in await each(_assigned(split.id)):
        one.assigned, one.lost = int(requests), int(requests - stored)
    for one, row in await each(_latencies(assigned)):
        one.latency_ms = dict(zip(QUANTILES, row, strict=True))
    for one, (model, version, requests, count) in await each(_answers(own)):
        one.answers[model, version] = requests
        one.faces += count
    for one, (emotion, count) in await each(_faces(_WITH_FACES, own, faces.c.emotion)):
        one.emotions[emotion] = count
    named = and_(own, feedback.c.emotion.is_not(None))
    for one, (truth, guess, count) in await each(_faces(_WITH_FEEDBACK, named, feedback.c.emotion, faces.c.emotion)):
        one.confusion[truth, guess] = count
    for one, row in await each(_clusters(own)):
        one.accuracy = Proportion(*map(int, row))
    for one, (moment, *row) in await each(await _cumulative(connection, own)):
        last = next(reversed(one.history.values()), None)
        sums = astuple(last) if last else (0,) * 6
        one.history[_moment(moment)] = Proportion(*(before + int(more) for before, more in zip(sums, row, strict=True)))
    newest = select(predictions.c.classes).where(own, predictions.c.faces > 0).order_by(predictions.c.created_at.desc())
    classes = tuple(await connection.scalar(newest.limit(1)) or ())
    others = select(func.count()).where(of_all_splits, predictions.c.split != split.id)
    return Tallies(tallies, classes, (await connection.execute(others)).scalar_one())


def _requests(where: ColumnElement[bool]) -> Select[Any]:
    answered = and_(predictions.c.faces > 0, predictions.c.fallback == false())
    columns = (
        func.count(),
        func.sum(case((predictions.c.fallback, 1), else_=0)),
        func.count(_UNIT.distinct()),
        func.count(case((predictions.c.fallback, _UNIT)).distinct()),
        func.count(case((answered, _UNIT)).distinct()),
    )
    return select(_VARIANT, *columns).where(where).group_by(_VARIANT)


def _assigned(split_id: str) -> Select[Any]:
    sums = (func.sum(assignments.c.assigned), func.sum(assignments.c.stored))
    return select(assignments.c.variant, *sums).where(assignments.c.split == split_id).group_by(assignments.c.variant)


def _latencies(where: ColumnElement[bool]) -> Select[Any]:
    """Nearest-rank quantiles, in milliseconds. SQLite has no function for them."""
    rank = func.cume_dist().over(partition_by=_VARIANT, order_by=predictions.c.latency_ms)
    ranked = select(_VARIANT, predictions.c.latency_ms, rank.label("rank")).where(where).subquery()
    quantiles = (func.min(case((ranked.c.rank >= quantile, ranked.c.latency_ms))) for quantile in QUANTILES)
    return select(ranked.c.variant, *quantiles).group_by(ranked.c.variant)


def _answers(where: ColumnElement[bool]) -> Select[Any]:
    by = (_VARIANT, predictions.c.model, predictions.c.version)
    return select(*by, func.count(), func.sum(predictions.c.faces)).where(where).group_by(*by)


def _faces(of: Any, where: ColumnElement[bool], *by: ColumnElement[str]) -> Select[Any]:
    return select(_VARIANT, *by, func.count()).select_from(of).where(where).group_by(_VARIANT, *by)


def _clusters(where: ColumnElement[bool]) -> Select[Any]:
    """Columns after the variant as in Proportion."""
    size, right = func.count().label("n"), func.sum(case((feedback.c.correct, 1), else_=0)).label("s")
    by_unit = select(_VARIANT, size, right).select_from(_WITH_FEEDBACK).where(where).group_by(_VARIANT, _UNIT)
    units = by_unit.subquery()
    n, s = units.c.n, units.c.s
    sums = (func.sum(n), func.sum(s), func.count(), func.sum(n * n), func.sum(s * s), func.sum(n * s))
    return select(units.c.variant, *sums).group_by(units.c.variant)


async def _cumulative(connection: AsyncConnection, where: ColumnElement[bool]) -> Select[Any]:
    """What each piece of time adds to the columns of _clusters(); the second column is where it ends, as in ids."""
    # Ids begin with their time, so that a piece is a number of their digits, 16 times as long with each fewer.
    first, last = (await connection.execute(select(func.min(_ID), func.max(_ID)).where(where))).one()
    pieces = int(last[:_TIME_DIGITS], 16) - int(first[:_TIME_DIGITS], 16) if first else 0
    digits = _TIME_DIGITS
    while pieces > _MAX_PIECES:
        digits, pieces = digits - 1, pieces // 16
    piece = func.substr(_ID, 1, digits).label("piece")
    size, right = func.count().label("n"), func.sum(case((feedback.c.correct, 1), else_=0)).label("s")
    unit = _UNIT.label("unit")
    by_piece = (
        select(_VARIANT, unit, piece, size, right)
        .select_from(_WITH_FEEDBACK)
        .where(where)
        .group_by(_VARIANT, unit, piece)
        .subquery()
    )
    # Of each unit: all until this piece, which squares need.
    columns = (
        by_piece.c.variant,
        by_piece.c.piece,
        by_piece.c.n,
        by_piece.c.s,
        *(
            func.sum(by_piece.c[name])
            .over(partition_by=(by_piece.c.variant, by_piece.c.unit), order_by=by_piece.c.piece)
            .label(f"all_{name}")
            for name in ("n", "s")
        ),
    )
    units = select(*columns).subquery()
    n, s, all_n, all_s = units.c.n, units.c.s, units.c.all_n, units.c.all_s
    sums = (
        func.sum(n),
        func.sum(s),
        func.sum(case((all_n == n, 1), else_=0)),
        func.sum(all_n * all_n - (all_n - n) * (all_n - n)),
        func.sum(all_s * all_s - (all_s - s) * (all_s - s)),
        func.sum(all_n * all_s - (all_n - n) * (all_s - s)),
    )
    by = (units.c.variant, units.c.piece)
    return select(*by, *sums).group_by(*by).order_by(*by)


def _moment(piece: str) -> datetime:
    """When a piece of time ends, of the digits that all its ids begin with."""
    milliseconds = (int(piece, 16) + 1) << 4 * (_TIME_DIGITS - len(piece))
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
