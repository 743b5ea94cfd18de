"""Predictions, their faces, the feedback on them, the splits of experiments, and what each assigned."""

import sqlalchemy as sa
from alembic import op

from api.outcomes.tables import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("experiment", sa.String),
        sa.Column("variant", sa.String),
        sa.Column("split", sa.String(16)),
        sa.Column("fallback", sa.Boolean, nullable=False),
        sa.Column("forced", sa.Boolean, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("subject", sa.String(64)),
        sa.Column("classes", sa.JSON, nullable=False),
        sa.Column("faces", sa.Integer, nullable=False),
        sa.Column("latency_ms", sa.Float, nullable=False),
    )
    op.create_index("predictions_by_experiment", "predictions", ["experiment", "split", "created_at"])
    op.create_table(
        "faces",
        sa.Column(
            "prediction_id", sa.String(32), sa.ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("face", sa.Integer, primary_key=True),
        sa.Column("emotion", sa.String, nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("probabilities", sa.JSON, nullable=False),
    )
    op.create_table(
        "feedback",
        sa.Column("prediction_id", sa.String(32), primary_key=True),
        sa.Column("face", sa.Integer, primary_key=True),
        sa.Column("emotion", sa.String),
        sa.Column("correct", sa.Boolean, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.ForeignKeyConstraint(["prediction_id", "face"], ["faces.prediction_id", "faces.face"], ondelete="CASCADE"),
    )
    op.create_table(
        "splits",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("experiment", sa.String, nullable=False),
        sa.Column("first_seen", UtcDateTime, nullable=False),
        sa.Column("control", sa.String, nullable=False),
        sa.Column("weights", sa.JSON, nullable=False),
    )
    op.create_index("ix_splits_experiment", "splits", ["experiment"])
    op.create_table(
        "assignments",
        sa.Column("run", sa.String(32), primary_key=True),
        sa.Column("split", sa.String(16), primary_key=True),
        sa.Column("variant", sa.String, primary_key=True),
        sa.Column("assigned", sa.BigInteger, nullable=False),
        sa.Column("stored", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_assignments_split", "assignments", ["split"])


def downgrade() -> None:
    for table in ("feedback", "faces", "predictions", "splits", "assignments"):
        op.drop_table(table)
