"""Prometheus metrics of one gateway.

Label values are bounded: routes are the templates of our own endpoints, models are those in the settings,
versions are those that the model server answered with, error types are those of errors.py.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

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

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
