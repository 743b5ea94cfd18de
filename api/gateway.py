"""What one running gateway owns, and the two steps of a prediction: find the faces, score them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from api.channel import open_channel
from api.cpu import CpuPool
from api.faces import FaceDetector
from api.metrics import Metrics
from api.model_client import ModelClient, Target
from api.outcomes.service import Outcomes
from api.pipeline import FaceFinder, FaceOptions, FoundFaces
from api.settings import Settings


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


class Gateway:
    """Use it through open_gateway()."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        pool: CpuPool,
        finder: FaceFinder,
        client: ModelClient,
        outcomes: Outcomes,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.pool = pool
        self.client = client
        self.outcomes = outcomes
        self._finder = finder

    async def find_faces(self, images: Sequence[bytes], options: FaceOptions) -> list[FoundFaces | Exception]:
        """Decode and detect in the pool; an image that fails leaves its error and loses only itself.

        Raises Overloaded.
        """
        return await self.pool.map(partial(self._finder.find, options=options), images)

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
    settings: Settings, metrics: Metrics, detector: FaceDetector, outcomes: Outcomes
) -> AsyncIterator[Gateway]:
    """Open the channel and the pool in the running event loop, so after any fork; close them at the end."""
    pool = CpuPool(settings.cpu_workers, settings.cpu_queue)
    channel = open_channel(settings.model_server, tls=settings.model_server_tls, ca_file=settings.model_server_ca)
    finder = FaceFinder(detector, max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    client = ModelClient(channel, timeout_s=settings.model_timeout_s, models=settings.models, labels=settings.labels)
    try:
        yield Gateway(settings, metrics, pool, finder, client, outcomes)
    finally:
        pool.close()
        await channel.close()
