"""The tables, for SQLite and PostgreSQL alike. There is no image in them, no pixel, and no subject in clear.

The migrations create them; a test holds the two against each other.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time. SQLite keeps no time zone: what goes in is turned to UTC, what comes out is marked so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(32), primary_key=True),  # begins with its time, so that retention needs no other index
    Column("created_at", UtcDateTime, nullable=False),
    Column("experiment", String),
    Column("variant", String),
    Column("fallback", Boolean, nullable=False),
    Column("forced", Boolean, nullable=False),
    Column("model", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("subject", String(64)),  # HMAC-SHA256, hexadecimal
    Column("classes", JSON, nullable=False),
    Column("faces", Integer, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Index("predictions_by_experiment", "experiment", "created_at"),
)

faces = Table(
    "faces",
    metadata,
    Column("prediction_id", ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True),
    Column("face", Integer, primary_key=True),
    Column("emotion", String, nullable=False),
    Column("confidence", Float, nullable=False),
    Column("probabilities", JSON, nullable=False),
)

feedback = Table(
    "feedback",
    metadata,
    Column("prediction_id", String(32), primary_key=True),
    Column("face", Integer, primary_key=True),
    Column("emotion", String),  # null where the client only said right or wrong
    Column("correct", Boolean, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    ForeignKeyConstraint(["prediction_id", "face"], ["faces.prediction_id", "faces.face"], ondelete="CASCADE"),
)

# One row whenever an experiment's split is seen to change: a share can only be judged against the weights of its time.
splits = Table(
    "splits",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("experiment", String, nullable=False, index=True),
    Column("since", UtcDateTime, nullable=False),
    Column("control", String, nullable=False),
    Column("weights", JSON, nullable=False),
)
