"""Prometheus metrics of one gateway.

Label values are bounded: routes are the templates of our own endpoints, models are those in the settings,
versions are those that the model server answered with, error types are those of errors.py.
"""

from collections.abc import Mapping
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from api.experiments.metrics import ExperimentMetrics

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """Owns its registry, so that two gateways in one process (as in the tests) do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "emotion_http_requests", "HTTP requests answered.", ["route", "status"], registry=self.registry
        )
        self._request_seconds = Histogram(
            "emotion_http_request_seconds",
            "Time to answer a request, upload included.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "emotion_stage_seconds",
            "Time spent on one stage of a prediction: decode, detect, infer.",
            ["stage", "model", "version"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._images = Counter("emotion_images", "Images predicted.", ["model", "version"], registry=self.registry)
        self._faces = Counter("emotion_faces", "Faces predicted.", ["model", "version"], registry=self.registry)
        self._errors = Counter("emotion_errors", "Problems answered, by type.", ["type"], registry=self.registry)
        self.experiments = ExperimentMetrics(self.registry)
        self._outcomes_written = Counter(
            "emotion_outcomes_written", "Predictions written to the outcome database.", registry=self.registry
        )
        self._outcomes_lost = Counter(
            "emotion_outcomes_lost",
            "Predictions that never got there: overflow of the buffer, shutdown, or refused by the database.",
            ["reason"],
            registry=self.registry,
        )
        self._outcome_failures = Counter(
            "emotion_outcomes_write_failures",
            "Attempts to write that failed; they are repeated.",
            registry=self.registry,
        )
        self._outcomes_buffered = Gauge(
            "emotion_outcomes_buffered", "Predictions that wait to be written.", registry=self.registry
        )
        self._outcomes_pruned = Counter(
            "emotion_outcomes_pruned", "Predictions deleted after the retention time.", registry=self.registry
        )
        self._retention_success = Gauge(
            "emotion_retention_last_success_timestamp_seconds",
            "When this gateway last deleted what was past the retention time; 0 before the first time.",
            registry=self.registry,
        )
        self._feedback = Counter(
            "emotion_feedback",
            "Feedback taken, by experiment, variant and whether the prediction was right.",
            ["experiment", "variant", "correct"],
            registry=self.registry,
        )
        # A rate over a series needs it from the start, not from the first loss on.
        for reason in ("overflow", "shutdown", "refused"):
            self._outcomes_lost.labels(reason)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def count_error(self, slug: str) -> None:
        self._errors.labels(slug).inc()

    def count_prediction(
        self, model: str, version: int, *, images: int, faces: int, stages_ms: Mapping[str, float]
    ) -> None:
        for stage, milliseconds in stages_ms.items():
            self._stage_seconds.labels(stage, model, str(version)).observe(milliseconds / 1000)
        self._images.labels(model, str(version)).inc(images)
        self._faces.labels(model, str(version)).inc(faces)

    def count_written_outcomes(self, predictions: int) -> None:
        self._outcomes_written.inc(predictions)

    def count_lost_outcome(self, reason: Literal["overflow", "shutdown", "refused"], predictions: int = 1) -> None:
        self._outcomes_lost.labels(reason).inc(predictions)

    def count_outcome_failure(self) -> None:
        self._outcome_failures.inc()

    def set_buffered_outcomes(self, predictions: int) -> None:
        self._outcomes_buffered.set(predictions)

    def count_pruned_outcomes(self, predictions: int) -> None:
        self._outcomes_pruned.inc(predictions)
        self._retention_success.set_to_current_time()

    def count_feedback(self, experiment: str | None, variant: str | None, *, correct: bool) -> None:
        self._feedback.labels(experiment or "", variant or "", str(correct).lower()).inc()

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
