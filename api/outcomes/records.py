"""What is recorded about an answer that has been given."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """One face of a prediction."""

    emotion: str
    confidence: float
    # In the order of the prediction's classes, each in [0, 1].
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """One answer: no image, no pixels."""

    # As in the response, made by ids.new_id().
    id: str
    # UTC, aware.
    created_at: datetime
    # None outside an experiment.
    experiment: str | None
    # The assigned one, even where the control answered in its place. None outside an experiment.
    variant: str | None
    # The experiment's split_id at that time.
    split: str | None
    # The control answered, because the variant could not.
    fallback: bool
    # The client asked for the variant by name.
    forced: bool
    # What really answered.
    model: str
    version: int
    # As the client sent it. Only its keyed hash is ever stored.
    subject: str | None
    # The model's, in its order.
    classes: tuple[str, ...]
    # In the order of the response, through all images of a batch.
    faces: tuple[FaceRecord, ...]
    # Of the whole request.
    latency_ms: float
