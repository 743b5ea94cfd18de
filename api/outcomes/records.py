"""What the request path tells the outcome store about an answer that has been given."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """One face of a prediction. probabilities: in the order of the prediction's classes, each in [0, 1]."""

    emotion: str
    confidence: float
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """One answer: no image, no pixels.

    id: as in the response, made by ids.new_id(). created_at: UTC, aware. experiment, variant: None outside an
    experiment; the variant is the assigned one even where the control answered for it (fallback). split: the
    experiment's split_id at that time. model, version: what really answered. forced: the variant was asked for by
    name. subject: as the client sent it; only its keyed hash is ever stored. classes: the model's, in order. faces: in
    the order of the response, through all images of a batch. latency_ms: of the whole request, in milliseconds.
    """

    id: str
    created_at: datetime
    experiment: str | None
    variant: str | None
    split: str | None
    fallback: bool
    forced: bool
    model: str
    version: int
    subject: str | None
    classes: tuple[str, ...]
    faces: tuple[FaceRecord, ...]
    latency_ms: float


class OutcomeSink(Protocol):
    """Where answers are recorded."""

    def record(self, prediction: PredictionRecord) -> None:
        """Take note of an answer. Never blocks and never raises."""
