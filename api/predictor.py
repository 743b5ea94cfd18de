"""The steps of a prediction: find the faces, ask a model, let the control stand in where a variant fails, take note."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray
from opentelemetry import trace

from api.deadline import within
from api.errors import DeadlineExceeded
from api.experiments.assignment import Assignment
from api.experiments.fallback import Fallback
from api.experiments.shadow import Shadows
from api.model.client import ModelClient, Scores
from api.observe.metrics import Metrics
from api.observe.tracing import tracer
from api.outcomes.ids import new_id
from api.outcomes.records import FaceRecord, PredictionRecord
from api.outcomes.writer import OutcomeWriter
from api.settings import Settings
from api.workers import CpuPool
from faces.contract import SIDE
from faces.finder import FaceFinder, FaceOptions, FoundFaces
from wire.target import Target

_NO_FACES = np.empty((0, SIDE, SIDE, 1), np.float32)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer, for all photos of a request."""

    # For each image that was sent its faces, or what was wrong with it.
    photos: Sequence[FoundFaces | Exception]
    # [N, 48, 48, 1], those of all photos, in their order.
    faces: NDArray[np.float32]
    # Of these faces, row for row.
    scores: Scores
    # The one that answered.
    target: Target
    # How long decoding, detecting and inferring took; the first two are sums over the photos.
    stages_ms: Mapping[str, float]
    # None outside of an experiment.
    assignment: Assignment | None
    # The variant failed, and the control answered for it.
    fallback: bool
    id: str = field(default_factory=new_id)


@dataclass(frozen=True)
class Predictor:
    """predict(), and once its answer is sent record()."""

    settings: Settings
    metrics: Metrics
    pool: CpuPool
    finder: FaceFinder
    client: ModelClient
    fallback: Fallback
    shadows: Shadows
    outcomes: OutcomeWriter

    async def predict(
        self,
        images: Sequence[bytes],
        options: FaceOptions,
        asked: Target | Assignment,
        *,
        caller: str,
        return_exceptions: bool,
        begin: Callable[[], None] | None = None,
        behind: bool = False,
        count: bool = True,
    ) -> Prediction:
        """Score the faces of all images in one call, by the target, or by the variant and where it fails the control.

        Args:
            caller: whose share of the threads it takes.
            begin: called in a thread before it decodes an image; what it raises stands for that image.
            behind: let whatever is not behind go first.
            count: whether it counts as assigned; then record() is to follow.
            return_exceptions: an image that cannot be read loses only itself; else what is wrong with it is raised.

        Raises:
            Overloaded: the images would have to wait too long.
            DeadlineExceeded: it takes longer than a request may.
            ServiceError: what ModelClient.predict() raises.
        """
        seconds, span = self.settings.request_timeout_s, trace.get_current_span()
        async with within(seconds, DeadlineExceeded, f"No answer within {seconds:g} s.") as deadline:
            costs = [self.finder.seconds(image, options) for image in images]
            find = partial(self._find, options=options, begin=begin)
            later = self.client.wait_s
            photos = await self.pool.map(find, images, costs=costs, caller=caller, behind=behind, later_s=later)
            found = [photo for photo in photos if isinstance(photo, FoundFaces)]
            if len(found) < len(photos) and not return_exceptions:
                raise next(photo for photo in photos if isinstance(photo, Exception))
            faces = np.concatenate([_NO_FACES, *(photo.tensor for photo in found)])
            if isinstance(asked, Target):
                scores, target, fallback = await self.client.predict(asked, faces), asked, False
            else:
                experiment, variant = asked.experiment, asked.variant.name
                span.set_attributes({"emotion.experiment": experiment.name, "emotion.variant": variant})
                try:
                    score = partial(self.client.predict, faces=faces)
                    scores, target, fallback = await self.fallback.answer(asked, score, deadline)
                finally:
                    # Those that fail, too: a variant that loses what it would get wrong must not look better thereby.
                    if count and not asked.forced:
                        self.outcomes.count_assigned(experiment, variant)
                span.set_attribute("emotion.fallback", fallback)
        stages_ms = {
            "decode": sum(photo.decode_ms for photo in found),
            "detect": sum(photo.detect_ms for photo in found),
            "infer": scores.infer_ms,
        }
        assignment = None if isinstance(asked, Target) else asked
        return Prediction(photos, faces, scores, target, stages_ms, assignment, fallback)

    def _find(self, content: bytes, options: FaceOptions, begin: Callable[[], None] | None) -> FoundFaces:
        if begin is not None:
            begin()
        with tracer.start_as_current_span("decode"):
            decoded = self.finder.decode(content)
        with tracer.start_as_current_span("detect") as span:
            found = self.finder.find(decoded, options)
            span.set_attributes({"emotion.pixels": found.width * found.height, "emotion.faces": len(found.faces)})
        return found

    async def explain(self, prediction: Prediction) -> NDArray[np.float32]:
        """Heat maps of its faces, float32 [N, 48, 48] in [0, 1], by the version that answered.

        Raises:
            NotExplained: the version cannot.
            DeadlineExceeded: it takes longer than a request may.
            ServiceError: what ModelClient.explain() raises.
        """
        seconds = self.settings.request_timeout_s
        async with within(seconds, DeadlineExceeded, f"No explanation within {seconds:g} s."):
            answered = Target(prediction.target.model, prediction.scores.version)
            return await self.client.explain(answered, prediction.faces)

    def measure(self, prediction: Prediction) -> None:
        """Count an answer in the metrics alone."""
        model = (prediction.target.model, str(prediction.scores.version))
        for stage, milliseconds in prediction.stages_ms.items():
            self.metrics.stage_seconds.labels(stage, *model).observe(milliseconds / 1000)
        self.metrics.images.labels(*model).inc(sum(isinstance(photo, FoundFaces) for photo in prediction.photos))
        self.metrics.faces.labels(*model).inc(len(prediction.faces))

    async def record(self, prediction: Prediction, latency_s: float) -> None:
        """Take note of an answer that has been sent: metrics, shadows and the outcome store. Never waits.

        It is a coroutine all the same, because Starlette would run a function in a thread, and what it tells belongs
        to the event loop.
        """
        self.measure(prediction)
        scores, assignment = prediction.scores, prediction.assignment
        if assignment is not None:
            names = (assignment.experiment.name, assignment.variant.name)
            self.metrics.experiment_requests.labels(*names, str(assignment.forced).lower()).inc()
            self.metrics.experiment_faces.labels(*names).inc(len(prediction.faces))
            self.metrics.experiment_request_seconds.labels(*names).observe(latency_s)
            if len(prediction.faces):
                self.shadows.submit(assignment.experiment, prediction.id, prediction.faces, scores)
        elif self.settings.record != "all":
            return
        self.outcomes.record(_record(prediction, latency_s))


def _record(prediction: Prediction, latency_s: float) -> PredictionRecord:
    scores, assignment = prediction.scores, prediction.assignment
    rows = zip(scores.likeliest.tolist(), scores.probabilities.tolist(), strict=True)
    return PredictionRecord(
        id=prediction.id,
        created_at=datetime.now(UTC),
        experiment=assignment.experiment.name if assignment else None,
        variant=assignment.variant.name if assignment else None,
        split=assignment.experiment.split_id if assignment else None,
        fallback=prediction.fallback,
        forced=assignment is not None and assignment.forced,
        model=prediction.target.model,
        version=scores.version,
        subject=assignment.subject if assignment else None,
        classes=scores.classes,
        faces=tuple(FaceRecord(scores.classes[best], row[best], tuple(row)) for best, row in rows),
        latency_ms=latency_s * 1000,
    )
