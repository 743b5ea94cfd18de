"""From bytes to faces: what one worker thread does with one image."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from api.errors import DetectorFailed
from api.faces import Box, FaceDetector
from api.images import Grey, decode
from api.normalize import crop_faces
from api.tracing import tracer


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """max_faces: the largest are kept; min_face: pixels; detect: False takes the whole image as one face."""

    max_faces: int
    min_face: int
    detect: bool


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """Faces of one image, largest first. tensor: float32 [len(boxes), 48, 48, 1]."""

    width: int
    height: int
    boxes: list[Box]
    tensor: NDArray[np.float32]
    decode_ms: float
    detect_ms: float


class FaceFinder:
    """Thread-safe as far as its detector is."""

    def __init__(self, detector: FaceDetector, *, max_bytes: int, max_pixels: int) -> None:
        self._detector = detector
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels

    def find(self, content: bytes, options: FaceOptions) -> FoundFaces:
        """Raises what decode() raises, and DetectorFailed when the detector does."""
        start = perf_counter()
        with tracer.start_as_current_span("decode"):
            grey = decode(content, max_bytes=self._max_bytes, max_pixels=self._max_pixels)
        decoded = perf_counter()
        height, width = grey.shape
        with tracer.start_as_current_span("detect") as span:
            try:
                boxes = self._boxes(grey, options)
                tensor = crop_faces(grey, boxes)
            except Exception as error:
                raise DetectorFailed() from error
            span.set_attributes({"emotion.pixels": width * height, "emotion.faces": len(boxes)})
        detected = perf_counter()
        return FoundFaces(width, height, boxes, tensor, (decoded - start) * 1000, (detected - decoded) * 1000)

    def _boxes(self, grey: Grey, options: FaceOptions) -> list[Box]:
        if not options.detect:
            height, width = grey.shape
            return [Box(0, 0, width, height)]
        return self._detector.detect(grey, options.min_face)[: options.max_faces]
