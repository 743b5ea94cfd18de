"""From bytes to faces: what one worker thread does with one image."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from faces.crop import crop_faces
from faces.decode import Grey, decode
from faces.detect import Box, FaceDetector
from faces.errors import DetectorFailed


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """max_faces: the largest are kept; min_face: pixels; detect: False takes the whole image as one face."""

    max_faces: int
    min_face: int
    detect: bool


@dataclass(frozen=True, slots=True)
class Decoded:
    """A photo, upright."""

    grey: Grey
    decode_ms: float


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
    """Two steps for each photo, decode() and find(). Thread-safe as far as its detector is."""

    def __init__(self, detector: FaceDetector, *, max_bytes: int, max_pixels: int) -> None:
        self._detector = detector
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels

    def decode(self, content: bytes) -> Decoded:
        """Raises ImageError or OutOfMemory."""
        start = perf_counter()
        grey = decode(content, max_bytes=self._max_bytes, max_pixels=self._max_pixels)
        return Decoded(grey, (perf_counter() - start) * 1000)

    def find(self, decoded: Decoded, options: FaceOptions) -> FoundFaces:
        """Raises DetectorFailed."""
        start = perf_counter()
        height, width = decoded.grey.shape
        try:
            boxes = self._boxes(decoded.grey, options)
            tensor = crop_faces(decoded.grey, boxes)
        except Exception as error:
            raise DetectorFailed() from error
        return FoundFaces(width, height, boxes, tensor, decoded.decode_ms, (perf_counter() - start) * 1000)

    def _boxes(self, grey: Grey, options: FaceOptions) -> list[Box]:
        if not options.detect:
            height, width = grey.shape
            return [Box(0, 0, width, height)]
        return self._detector.detect(grey, options.min_face)[: options.max_faces]
