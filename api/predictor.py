"""What one running gateway owns, and the steps of a prediction: find the faces, score them, take note of the answer."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from opentelemetry import trace

from api.experiments.assignment import Assignment
from api.experiments.breaker import Breakers
from api.experiments.fallback import Split
from api.experiments.file import Experiments
from api.experiments.shadow import Shadows
from api.model.channel import open_channel
from api.model.client import ModelClient, Scores
from api.observe.metrics import Metrics
from api.observe.tracing import tracer
from api.outcomes.records import FaceRecord, PredictionRecord
from api.outcomes.writer import OutcomeWriter
from api.settings import Settings
from api.workers import CpuPool
from faces.detect import FaceDetector
from faces.finder import FaceFinder, FaceOptions, FoundFaces
from wire.target import Target

# A variant that is given less time than this, for the rest of the request took so long, is not blamed for needing more.
_FAIR_S = 1.0


@dataclass(frozen=True, slots=True)
class ImageResult:
    """Faces of one image; probabilities: float32 [faces, C], row for row."""

    found: FoundFaces
    probabilities: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Prediction:
    """version: the one that answered; classes: C names, none when there was no face; results: one per image."""

    version: int
    classes: tuple[str, ...]
    results: list[ImageResult]
    stages_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Answer:
    """target: the one that answered; assignment: None outside an experiment; fallback: the control stood in."""

    prediction: Prediction
    target: Target
    assignment: Assignment | None
    fallback: bool

    @property
    def experiment(self) -> str | None:
        return self.assignment.experiment.name if self.assignment else None

    @property
    def variant(self) -> str | None:
        return self.assignment.variant.name if self.assignment else None


class Gateway:
    """Use it through open_gateway()."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        pool: CpuPool,
        finder: FaceFinder,
        client: ModelClient,
        experiments: Experiments,
        shadows: Shadows,
        outcomes: OutcomeWriter,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.pool = pool
        self.client = client
        self.experiments = experiments
        self.split = Split(
            Breakers(settings.breaker_failures, settings.breaker_open_s),
            metrics.experiments,
            fair_s=min(settings.model_timeout_s, _FAIR_S),
        )
        self.shadows = shadows
        self.outcomes = outcomes
        self._finder = finder

    async def find_faces(self, images: Sequence[bytes], options: FaceOptions) -> list[FoundFaces | Exception]:
        """Decode and detect in the pool; an image that fails leaves its error and loses only itself.

        Raises Overloaded.
        """
        return await self.pool.map(partial(self._find, options=options), images)

    def _find(self, content: bytes, options: FaceOptions) -> FoundFaces:
        with tracer.start_as_current_span("decode"):
            decoded = self._finder.decode(content)
        with tracer.start_as_current_span("detect") as span:
            found = self._finder.find(decoded, options)
            span.set_attributes({"emotion.pixels": found.width * found.height, "emotion.faces": len(found.boxes)})
        return found

    async def answer(self, found: Sequence[FoundFaces], asked: Target | Assignment, deadline: float) -> Answer:
        """Score the faces of all images by the target, or by the variant and, where it fails, by the control.

        deadline: of the request, in the loop's time. Raises what ModelClient.predict() raises.
        """
        if isinstance(asked, Target):
            return Answer(await self.score(found, asked), asked, None, False)
        span = trace.get_current_span()
        span.set_attributes({"emotion.experiment": asked.experiment.name, "emotion.variant": asked.variant.name})
        try:
            prediction, target, fallback = await self.split.answer(asked, partial(self.score, found), deadline)
        finally:
            # Those that fail, too: a variant that loses what it would get wrong must not look better for it.
            if not asked.forced:
                self.outcomes.count_assigned(asked.experiment, asked.variant.name)
        span.set_attribute("emotion.fallback", fallback)
        return Answer(prediction, target, asked, fallback)

    async def conclude(self, answer: Answer, prediction_id: str, latency_s: float) -> None:
        """Take note of an answer that has been sent: metrics, shadows and the outcome store. Never waits."""
        prediction, assignment = answer.prediction, answer.assignment
        probabilities = [row for result in prediction.results for row in result.probabilities]
        if assignment is not None:
            self.metrics.experiments.count_request(
                assignment.experiment.name,
                assignment.variant.name,
                forced=assignment.forced,
                faces=len(probabilities),
                seconds=latency_s,
            )
            if probabilities and assignment.experiment.shadow:
                faces = np.concatenate([result.found.tensor for result in prediction.results if result.found.boxes])
                scores = Scores(prediction.version, prediction.classes, np.stack(probabilities))
                self.shadows.submit(assignment.experiment, prediction_id, faces, scores)
        if assignment is None and self.settings.record != "all":
            return
        self.outcomes.record(
            PredictionRecord(
                id=prediction_id,
                created_at=datetime.now(UTC),
                experiment=answer.experiment,
                variant=answer.variant,
                split=assignment.experiment.split_id if assignment else None,
                fallback=answer.fallback,
                forced=assignment is not None and assignment.forced,
                model=answer.target.model,
                version=prediction.version,
                subject=assignment.subject if assignment else None,
                classes=prediction.classes,
                faces=tuple(_face_record(prediction.classes, row) for row in probabilities),
                latency_ms=latency_s * 1000,
            )
        )

    async def score(self, found: Sequence[FoundFaces], target: Target) -> Prediction:
        """Score the faces of all images in one call. Raises what ModelClient.predict() raises."""
        start = perf_counter()
        version, classes, probabilities = await self._score(found, target)
        stages_ms = {
            "decode": sum(image.decode_ms for image in found),
            "detect": sum(image.detect_ms for image in found),
            "infer": (perf_counter() - start) * 1000,
        }
        self.metrics.count_prediction(
            target.model, version, images=len(found), faces=len(probabilities), stages_ms=stages_ms
        )
        results = []
        row = 0
        for image in found:
            end = row + len(image.boxes)
            results.append(ImageResult(image, probabilities[row:end]))
            row = end
        return Prediction(version, classes, results, stages_ms)

    async def _score(
        self, found: Sequence[FoundFaces], target: Target
    ) -> tuple[int, tuple[str, ...], NDArray[np.float32]]:
        tensors = [image.tensor for image in found if image.boxes]
        if not tensors:
            # Ask all the same: whether a version exists must not depend on what is in the photo.
            return await self.client.resolve(target), (), np.empty((0, 0), np.float32)
        scores = await self.client.predict(target, np.concatenate(tensors))
        return scores.version, scores.classes, scores.probabilities


@asynccontextmanager
async def open_gateway(
    settings: Settings, metrics: Metrics, detector: FaceDetector, experiments: Experiments, outcomes: OutcomeWriter
) -> AsyncIterator[Gateway]:
    """Open channels and the pool in the running event loop, so after any fork; close them at the end."""
    pool = CpuPool(settings.cpu_workers, settings.cpu_queue)
    metrics.watch_cpu(
        workers=settings.cpu_workers,
        queue=settings.cpu_queue,
        busy=lambda: pool.busy,
        waiting=lambda: pool.waiting,
    )
    finder = FaceFinder(detector, max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    async with _open_client(settings, metrics) as client, _open_client(settings, metrics) as shadow_client:
        shadows = Shadows(
            shadow_client,
            metrics.experiments,
            Breakers(settings.breaker_failures, settings.breaker_open_s),
            busy=lambda: pool.waiting > 0,
            concurrency=settings.shadow_concurrency,
            queue_faces=settings.shadow_queue,
        )
        for experiment in experiments.current.experiments:
            outcomes.register_split(experiment)
        try:
            async with experiments.watched(settings.experiments_poll_s), shadows.running():
                yield Gateway(settings, metrics, pool, finder, client, experiments, shadows, outcomes)
        finally:
            pool.close()


@asynccontextmanager
async def _open_client(settings: Settings, metrics: Metrics) -> AsyncIterator[ModelClient]:
    channel = open_channel(settings.model_server, tls=settings.model_server_tls, ca_file=settings.model_server_ca)
    try:
        yield ModelClient(
            channel,
            timeout_s=settings.model_timeout_s,
            models=settings.models,
            labels=settings.labels,
            note_version=metrics.note_version,
        )
    finally:
        await channel.close()


def _face_record(classes: Sequence[str], row: NDArray[np.float32]) -> FaceRecord:
    likeliest = int(row.argmax())
    return FaceRecord(classes[likeliest], float(row[likeliest]), tuple(map(float, row)))
