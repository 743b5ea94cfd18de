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
    # The largest are kept.
    max_faces: int
    # Smallest face to look for, in pixels of the photo.
    min_face: int
    # False takes the whole photo as one face.
    detect: bool


@dataclass(frozen=True, slots=True)
class Decoded:
    """A photo, upright."""

    grey: Grey
    decode_ms: float


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """The faces of one photo, largest first."""

    width: int
    height: int
    boxes: list[Box]
    # [len(boxes), 48, 48, 1] in [-1, 1].
    tensor: NDArray[np.float32]
    decode_ms: float
    detect_ms: float


@dataclass(frozen=True, slots=True)
class FaceFinder:
    """Two steps for each photo, decode() and find(). Thread-safe as far as its detector is."""

    detector: FaceDetector
    max_bytes: int
    max_pixels: int

    def decode(self, content: bytes) -> Decoded:
        """
        Raises:
            ImageError, OutOfMemory: as faces.decode.decode() does.
        """
        start = perf_counter()
        grey = decode(content, max_bytes=self.max_bytes, max_pixels=self.max_pixels)
        return Decoded(grey, (perf_counter() - start) * 1000)

    def find(self, decoded: Decoded, options: FaceOptions) -> FoundFaces:
        """
        Raises:
            DetectorFailed: from whatever the detector raised.
        """
        start = perf_counter()
        grey = decoded.grey
        height, width = grey.shape
        try:
            if options.detect:
                boxes = self.detector.detect(grey, options.min_face)[: options.max_faces]
            else:
                boxes = [Box(0, 0, width, height)]
            tensor = crop_faces(grey, boxes)
        except Exception as error:
            raise DetectorFailed() from error
        return FoundFaces(width, height, boxes, tensor, decoded.decode_ms, (perf_counter() - start) * 1000)
