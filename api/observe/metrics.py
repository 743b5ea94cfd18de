"""Prometheus metrics of one gateway.

Label values are bounded: routes are the templates of our own endpoints, models are those in the settings,
versions and labels are those that the model server answered, error types are those of errors.py. Names from
experiments.yaml keep their series when they leave the file, until the gateway restarts.
"""

import os
import platform
from collections.abc import Iterator
from errno import ENOENT
from functools import partial
from tempfile import TemporaryFile
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from api.observe.version import package_version

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_EXPERIMENT_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10)


class MetricsDirectoryError(Exception):
    """The message is one line for the operator."""


def require_metrics_directory() -> None:
    """
    Raises:
        MetricsDirectoryError: prometheus_client is told to keep its values in files, and cannot.
    """
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        folder = os.environ.get(name)
        if folder is None:
            continue
        try:
            if not folder:
                raise FileNotFoundError(ENOENT, "is empty")
            TemporaryFile(dir=folder).close()
        except OSError as error:
            raise MetricsDirectoryError(
                f"{name}: no files can be made in {folder!r} ({error.strerror}); the gateway is one process and needs "
                "no such directory: unset it"
            ) from error


class Metrics:
    """Owns its registry, so that two gateways in one process (as in the tests) do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        ProcessCollector(registry=self.registry)
        self.detector_info = Info(
            "emotion_detector", "What finds faces unless a request names another.", registry=self.registry
        )
        build = Info("emotion_build", "Which gateway this is.", registry=self.registry)
        build.info({"version": package_version(), "python": platform.python_version()})

        self.draining = gauge("emotion_draining", "1 once the gateway has been told to stop, and still serves.")
        self.in_flight = gauge("emotion_http_requests_in_flight", "HTTP requests being answered, this one too.")
        self.requests = counter("emotion_http_requests", "HTTP requests answered.", ["route", "status"])
        self.request_seconds = histogram(
            "emotion_http_request_seconds", "Time to answer a request, upload included.", ["route"], buckets=_SECONDS
        )
        self.errors = counter("emotion_errors", "Problems answered, by type.", ["type"])

        self.connections = gauge("emotion_connections", "Connections of clients that are open.")
        self.connections_limit = gauge("emotion_connections_limit", "How many there may be.")

        self.streams = gauge("emotion_streams", "Camera streams that are open.")
        self.streams_limit = gauge("emotion_streams_limit", "How many there may be.")
        self.stream_frames = counter("emotion_stream_frames", "Frames of streams, by what became of them.", ["outcome"])
        for outcome in ("result", "busy", "rate", "late", "problem"):
            self.stream_frames.labels(outcome)
        self.stream_frame_seconds = histogram(
            "emotion_stream_frame_seconds", "Time from a frame's arrival to its result.", buckets=_SECONDS
        )

        self.body_bytes = gauge("emotion_body_bytes", "Bodies of requests that are held, read or being read.")
        self.body_bytes_limit = gauge("emotion_body_bytes_limit", "How many bytes they may have.")

        self.cpu_workers = gauge("emotion_cpu_workers", "Threads that decode and detect.")
        self.cpu_workers_busy = gauge("emotion_cpu_workers_busy", "Threads that have an image.")
        self.cpu_queue_length = gauge("emotion_cpu_queue_length", "Images that wait for a thread.")
        self.cpu_queue_seconds = gauge(
            "emotion_cpu_queue_seconds", "How long all that is in work and waits keeps the threads busy, by estimate."
        )
        self.cpu_queue_limit_seconds = gauge(
            "emotion_cpu_queue_limit_seconds",
            "How long an image may have to wait before it is refused.",
        )

        model = ["model", "version"]
        self.stage_seconds = histogram(
            "emotion_stage_seconds",
            "Time spent on one stage of a prediction: decode, detect, infer.",
            ["stage", *model],
            buckets=_SECONDS,
        )
        self.images = counter("emotion_images", "Images predicted.", model)
        self.faces = counter("emotion_faces", "Faces predicted.", model)
        self.model_server_addresses = gauge(
            "emotion_model_server_addresses",
            "Addresses of model servers: ready, connecting, or left-alone because they hang.",
            ["state"],
        )
        self.model_server_retries = counter(
            "emotion_model_server_retries",
            "Calls to the model server that were repeated, by what the attempt before failed of.",
            ["reason"],
        )
        for reason in ("timeout", "unavailable"):
            self.model_server_retries.labels(reason)
        self.label_versions = LabelVersions()
        self.registry.register(self.label_versions)

        self.keys_config_valid = gauge(
            "emotion_keys_config_valid",
            "1 when the file of keys as it is now is the one in use, 0 when it is invalid and an earlier one is.",
        )
        # Names of the file of keys, `admin` and `anonymous`.
        self.key_requests = counter("emotion_key_requests", "Requests let in, by the name of their key.", ["key"])

        # Of experiments: label values are names from experiments.yaml, and types of problems.
        variant = ["experiment", "variant"]
        self.experiments_config_valid = gauge(
            "emotion_experiments_config_valid",
            "1 when experiments.yaml as it is now is the one in use, 0 when it is invalid and an earlier one is.",
        )
        self.experiment_requests = counter(
            "emotion_experiment_requests",
            "Requests answered, by assigned variant; forced: the client named the variant.",
            [*variant, "forced"],
        )
        self.experiment_faces = counter("emotion_experiment_faces", "Faces answered, by assigned variant.", variant)
        self.experiment_request_seconds = histogram(
            "emotion_experiment_request_seconds",
            "Time to answer a request, upload included, by assigned variant.",
            variant,
            buckets=_EXPERIMENT_SECONDS,
        )
        self.fallbacks = counter(
            "emotion_experiment_fallbacks",
            "Requests that the control answered for a variant, by the type of problem it had, or circuit-open.",
            [*variant, "reason"],
        )

        shadow = ["experiment", "shadow"]
        self.shadow_results = counter("emotion_shadow_results", "Answers that a shadow target gave, too.", shadow)
        self.shadow_faces = counter("emotion_shadow_faces", "Faces compared with a shadow target.", shadow)
        self.shadow_agreeing_faces = counter(
            "emotion_shadow_agreeing_faces", "Faces compared that got the same emotion.", shadow
        )
        self.shadow_divergence_bits = counter(
            "emotion_shadow_divergence_bits",
            "Sum over faces of the Jensen-Shannon divergence to the answer, in bits.",
            shadow,
        )
        self.shadow_dropped = counter(
            "emotion_shadow_dropped", "Answers not shadowed, to spare requests or it.", shadow
        )
        self.shadow_errors = counter(
            "emotion_shadow_errors", "Answers that a shadow target failed on, by type of problem.", [*shadow, "type"]
        )

        self.outcomes_written = counter("emotion_outcomes_written", "Predictions written to the outcome database.")
        self.outcomes_lost = counter(
            "emotion_outcomes_lost",
            "Predictions that never got there: overflow of the buffer, shutdown, or refused by the database.",
            ["reason"],
        )
        # A rate over a series needs it from the start, not from the first loss on.
        for reason in ("overflow", "shutdown", "refused"):
            self.outcomes_lost.labels(reason)
        self.outcomes_write_failures = counter(
            "emotion_outcomes_write_failures", "Attempts to write that failed; they are repeated."
        )
        self.outcomes_buffered = gauge("emotion_outcomes_buffered", "Predictions that wait to be written.")
        self.outcomes_pruned = counter("emotion_outcomes_pruned", "Predictions deleted after the retention time.")
        self.retention_last_success = gauge(
            "emotion_retention_last_success_timestamp_seconds",
            "When this gateway last deleted what was past the retention time; 0 before the first time.",
        )
        self.feedback = counter(
            "emotion_feedback",
            "Feedback taken, by experiment, variant and whether the prediction was right.",
            [*variant, "correct"],
        )


class LabelVersions(Collector):
    """The version behind each label of a model, as the model server last said; only the recent ones.

    A label that nobody asks for any more may have been moved: its last version would look like a server that lags.
    """

    _FRESH_S = 300

    def __init__(self) -> None:
        self._noted: dict[tuple[str, str], tuple[int, float]] = {}

    def note(self, model: str, label: str | None, version: int) -> None:
        """A version answered for a label, or for a request that named neither."""
        self._noted[model, label or ""] = (version, monotonic())

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
