"""Prometheus metrics of experiments.

Label values are names from experiments.yaml, and types of problems. A name that leaves the file keeps its series until
the gateway restarts.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10)


class ExperimentMetrics:
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
            buckets=_SECONDS,
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
