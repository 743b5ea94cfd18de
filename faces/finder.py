"""From bytes to faces: what one worker thread does with one image."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from faces.align import Aligner
from faces.contract import to_input
from faces.crop import crop_faces, to_face
from faces.decode import Grey, decode
from faces.detect import Detection, FaceDetector, Search
from faces.detect.onet import Points
from faces.detect.turned import best_turned
from faces.errors import DetectorFailed
from faces.geometry import Box


@dataclass(frozen=True, slots=True)
class FaceOptions:
    # The largest are kept.
    max_faces: int
    # Smallest face to look for, in pixels of the photo; None: what the standard side shows.
    min_face: int | None
    # Name of the detector; None takes the whole photo as one face.
    detector: str | None
    # Turn heads that lean upright.
    align: bool
    # Where no face is found, look at the photo turned.
    rotate: bool


@dataclass(frozen=True, slots=True)
class Decoded:
    """A photo, upright."""

    grey: Grey
    decode_ms: float


@dataclass(frozen=True, slots=True)
class Face:
    """One face of a photo."""

    box: Box
    # The detector's, in [0, 1]; None where it has none.
    score: float | None
    # Degrees by which the head leans to the right; None where nobody looked.
    roll: float | None
    # [5, 2], pixels: eyes, nose, corners of the mouth, those on the left of the picture first; None as above.
    landmarks: Points | None


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """The faces of one photo, largest first."""

    width: int
    height: int
    faces: list[Face]
    # [len(faces), 48, 48, 1] in [-1, 1].
    tensor: NDArray[np.float32]
    # None where the whole photo was taken as one face.
    search: Search | None
    decode_ms: float
    detect_ms: float


@dataclass(frozen=True, slots=True)
class FaceFinder:
    """Two steps for each photo, decode() and find(). Thread-safe as far as its detectors are."""

    # By name, see `FaceDetector.name`.
    detectors: Mapping[str, FaceDetector]
    aligner: Aligner
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
            if options.detector is None:
                faces = [Face(Box(0, 0, width, height), None, None, None)]
                tensor, search = to_input(to_face(grey)[None]), None
            else:
                search = self._search(grey, self.detectors[options.detector], options)
                found = search.faces[: options.max_faces]
                faces, tensor = self._look(grey, found, align=options.align)
        except Exception as error:
            raise DetectorFailed() from error
        return FoundFaces(width, height, faces, tensor, search, decoded.decode_ms, (perf_counter() - start) * 1000)

    def _search(self, grey: Grey, detector: FaceDetector, options: FaceOptions) -> Search:
        search = detector.detect(grey, options.min_face)
        if search.faces or not options.rotate:
            return search
        return replace(search, faces=best_turned(detector, grey, options.min_face))

    def _look(self, grey: Grey, found: list[Detection], *, align: bool) -> tuple[list[Face], NDArray[np.float32]]:
        height, width = grey.shape
        boxes = [face.box.within(width, height) for face in found]
        if not align:
            faces = [Face(box, face.score, None, None) for box, face in zip(boxes, found, strict=True)]
            return faces, crop_faces(grey, [face.square for face in found])
        looks = self.aligner.align(grey, found)
        faces = [
            Face(box, face.score, look.roll, look.points) for box, face, look in zip(boxes, found, looks, strict=True)
        ]
        return faces, crop_faces(grey, [look.square for look in looks])
