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
    Column("split", String(16)),
    Column("fallback", Boolean, nullable=False),
    Column("forced", Boolean, nullable=False),
    Column("model", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("subject", String(64)),  # HMAC-SHA256, hexadecimal
    Column("classes", JSON, nullable=False),
    Column("faces", Integer, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Index("predictions_by_experiment", "experiment", "split", "created_at"),
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

# Every way in which an experiment has divided its traffic: a share can only be judged against its own weights.
splits = Table(
    "splits",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("experiment", String, nullable=False, index=True),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("control", String, nullable=False),
    Column("weights", JSON, nullable=False),
)

# Of each run of a gateway: the requests that a split assigned to a variant, and the predictions stored of them. Those
# that still wait to be stored are in neither; the rest is lost.
assignments = Table(
    "assignments",
    metadata,
    Column("run", String(32), primary_key=True),
    Column("split", String(16), primary_key=True, index=True),
    Column("variant", String, primary_key=True),
    Column("assigned", BigInteger, nullable=False),
    Column("stored", BigInteger, nullable=False),
)
