"""Prometheus metrics of one gateway.

Label values are bounded: routes are the templates of our own endpoints, models are those in the settings,
versions and labels are those that the model server answered, error types are those of errors.py. Names from
experiments.yaml keep their series when they leave the file, until the gateway restarts.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from time import monotonic
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from api.observe.tracing import exemplar
from api.observe.version import package_version

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_EXPERIMENT_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10)


class ExperimentMetrics:
    """Those of experiments. Label values are names from experiments.yaml, and types of problems."""

    def __init__(self, registry: CollectorRegistry) -> None:
        variant = ["experiment", "variant"]
        shadow = ["experiment", "shadow"]
        self._config_valid = Gauge(
            "emotion_experiments_config_valid",
            "1 when experiments.yaml as it is now is the one in use, 0 when it is invalid and an earlier one is.",
            registry=registry,
        )
        self._requests = Counter(
            "emotion_experiment_requests",
            "Requests answered, by assigned variant; forced: the client named the variant.",
            [*variant, "forced"],
            registry=registry,
        )
        self._faces = Counter(
            "emotion_experiment_faces", "Faces answered, by assigned variant.", variant, registry=registry
        )
        self._seconds = Histogram(
            "emotion_experiment_request_seconds",
            "Time to answer a request, upload included, by assigned variant.",
            variant,
            buckets=_EXPERIMENT_SECONDS,
            registry=registry,
        )
        self._fallbacks = Counter(
            "emotion_experiment_fallbacks",
            "Requests that the control answered for a variant, by the type of problem it had, or circuit-open.",
            [*variant, "reason"],
            registry=registry,
        )
        self._shadow_results = Counter(
            "emotion_shadow_results", "Answers that a shadow target gave, too.", shadow, registry=registry
        )
        self._shadow_faces = Counter(
            "emotion_shadow_faces", "Faces compared with a shadow target.", shadow, registry=registry
        )
        self._shadow_agreeing = Counter(
            "emotion_shadow_agreeing_faces", "Faces compared that got the same emotion.", shadow, registry=registry
        )
        self._shadow_divergence = Counter(
            "emotion_shadow_divergence_bits",
            "Sum over faces of the Jensen-Shannon divergence to the answer, in bits.",
            shadow,
            registry=registry,
        )
        self._shadow_dropped = Counter(
            "emotion_shadow_dropped", "Answers not shadowed, to spare requests or it.", shadow, registry=registry
        )
        self._shadow_errors = Counter(
            "emotion_shadow_errors",
            "Answers that a shadow target failed on, by type of problem.",
            [*shadow, "type"],
            registry=registry,
        )

    def set_config_valid(self, valid: bool) -> None:
        self._config_valid.set(valid)

    def count_request(self, experiment: str, variant: str, *, forced: bool, faces: int, seconds: float) -> None:
        self._requests.labels(experiment, variant, str(forced).lower()).inc()
        self._faces.labels(experiment, variant).inc(faces)
        self._seconds.labels(experiment, variant).observe(seconds)

    def count_fallback(self, experiment: str, variant: str, reason: str) -> None:
        self._fallbacks.labels(experiment, variant, reason).inc()

    def count_shadow_result(
        self, experiment: str, shadow: str, *, faces: int, agreeing: int, divergence: float
    ) -> None:
        """divergence: summed over the faces, bits."""
        self._shadow_results.labels(experiment, shadow).inc()
        self._shadow_faces.labels(experiment, shadow).inc(faces)
        self._shadow_agreeing.labels(experiment, shadow).inc(agreeing)
        self._shadow_divergence.labels(experiment, shadow).inc(divergence)

    def count_shadow_dropped(self, experiment: str, shadow: str) -> None:
        self._shadow_dropped.labels(experiment, shadow).inc()

    def count_shadow_error(self, experiment: str, shadow: str, kind: str) -> None:
        self._shadow_errors.labels(experiment, shadow, kind).inc()


class Metrics:
    """Owns its registry, so that two gateways in one process (as in the tests) do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build = Info("emotion_build", "Which gateway this is.", registry=self.registry)
        build.info({"version": package_version(), "python": platform.python_version()})
        self._draining = Gauge(
            "emotion_draining", "1 once the gateway has been told to stop, and still serves.", registry=self.registry
        )
        self._in_flight = Gauge(
            "emotion_http_requests_in_flight", "HTTP requests being answered, this one too.", registry=self.registry
        )
        self._cpu_workers = Gauge("emotion_cpu_workers", "Threads that decode and detect.", registry=self.registry)
        self._cpu_busy = Gauge("emotion_cpu_workers_busy", "Threads that have an image.", registry=self.registry)
        self._cpu_queue = Gauge("emotion_cpu_queue_length", "Images that wait for a thread.", registry=self.registry)
        self._cpu_limit = Gauge(
            "emotion_cpu_queue_limit", "Images that may wait before new ones are refused.", registry=self.registry
        )
        self._versions = _LabelVersions()
        self.registry.register(self._versions)
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

    def watch_drain(self, draining: Callable[[], bool]) -> None:
        self._draining.set_function(draining)

    def watch_cpu(self, *, workers: int, queue: int, busy: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Ask at each scrape how many threads are busy and how many images wait."""
        self._cpu_workers.set(workers)
        self._cpu_limit.set(queue)
        self._cpu_busy.set_function(busy)
        self._cpu_queue.set_function(waiting)

    def in_flight(self) -> AbstractContextManager[object]:
        """Counts a request for as long as the body runs."""
        return self._in_flight.track_inprogress()

    def note_version(self, model: str, label: str | None, version: int) -> None:
        """A version answered for a label, or for a request that named neither."""
        self._versions.note(model, label or "", version)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds, exemplar())

    def expect_errors(self, slugs: Iterable[str]) -> None:
        """Begin to count these at zero: an increase over a series needs it from the start, not from the first error."""
        for slug in slugs:
            self._errors.labels(slug)

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

    def render(self, accept: str) -> tuple[bytes, str]:
        """All of them and their media type, in the best format that an Accept header takes."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type


class _LabelVersions(Collector):
    """The version behind each label of a model, as the model server last said; only the recent ones.

    A label that nobody asks for any more may have been moved: its last version would look like a server that lags.
    """

    _FRESH_S = 300

    def __init__(self) -> None:
        self._noted: dict[tuple[str, str], tuple[int, float]] = {}

    def note(self, model: str, label: str, version: int) -> None:
        self._noted[model, label] = (version, monotonic())

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "emotion_model_version",
            "The version that last answered for a label, within five minutes; no label: for no label or version.",
            labels=["model", "label"],
        )
        since = monotonic() - self._FRESH_S
        for key, (version, when) in list(self._noted.items()):
            if when >= since:
                family.add_metric(key, version)
        yield family
