"""From bytes to faces: what one worker thread does with one image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from faces.align import Aligner
from faces.contract import SIDE, to_input
from faces.crop import crop_faces, to_face
from faces.decode import Grey, Photo, estimate, read
from faces.detect import Detection, FaceDetector, Search
from faces.detect.onet import Points
from faces.detect.turned import best_turned
from faces.errors import DetectorFailed, FaceError
from faces.geometry import Box, Square

# Seconds on one core of an EPYC: a search of 640 pixels by YuNet with two faces aligned, a whole photo taken as one
# face, and a file that is none.
_SEARCH_S, _CROP_S, _REFUSAL_S = 0.025, 0.0005, 0.0003


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
    """A photo, upright, as far as it has been decoded."""

    photo: Photo
    # The picture is at 1 / scale of the photo's size.
    scale: int
    grey: Grey
    decode_ms: float

    def closer(self, faces: Sequence[Detection]) -> "Decoded":
        """Decoded once more where a face is smaller than what a network reads, and the photo has more of it.

        Args:
            faces: in pixels of the picture.
        """
        smallest = min((face.square.side for face in faces), default=SIDE)
        if self.scale == 1 or smallest >= SIDE:
            return self
        return _decode(self.photo, self.photo.scale(ceil(max(self.grey.shape) * SIDE / smallest)))


def _decode(photo: Photo, scale: int) -> Decoded:
    start = perf_counter()
    grey = photo.decode(scale)
    return Decoded(photo, scale, grey, (perf_counter() - start) * 1000)


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
    # What a network reads of it; None where that is the whole photo.
    square: Square | None


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
    # Longer side, pixels, that a large photo keeps when it is decoded: the most that a detector searches.
    side: int

    def decode(self, content: bytes) -> Decoded:
        """
        Raises:
            ImageError, OutOfMemory: as faces.decode.decode() does.
        """
        photo = read(content, max_bytes=self.max_bytes, max_pixels=self.max_pixels)
        return _decode(photo, photo.scale(self.side))

    def seconds(self, content: bytes, options: FaceOptions) -> float:
        """What both steps take on one thread, told from the header alone; next to nothing for what is no photo.

        Compare them with each other: another core takes another time.
        """
        try:
            decoding = estimate(content, self.side).milliseconds / 1000
        except FaceError:
            return _REFUSAL_S
        return decoding + (_SEARCH_S if options.detector else _CROP_S)

    def find(self, decoded: Decoded, options: FaceOptions) -> FoundFaces:
        """
        Raises:
            DetectorFailed: from whatever the detector raised.
        """
        start = perf_counter()
        photo, decode_ms = decoded.photo, decoded.decode_ms
        try:
            if options.detector is None:
                faces = [Face(Box(0, 0, photo.width, photo.height), None, None, None, None)]
                tensor, search = to_input(to_face(decoded.grey)[None]), None
            else:
                search = self._search(decoded, self.detectors[options.detector], options)
                found = search.faces[: options.max_faces]
                closer = decoded.closer([_scaled(face, 1 / decoded.scale) for face in found])
                if closer is not decoded:
                    decode_ms += closer.decode_ms
                faces, tensor = self._look(closer, found, align=options.align)
        except FaceError:
            raise
        except Exception as error:
            raise DetectorFailed() from error
        detect_ms = (perf_counter() - start) * 1000 - (decode_ms - decoded.decode_ms)
        return FoundFaces(photo.width, photo.height, faces, tensor, search, decode_ms, detect_ms)

    def _search(self, decoded: Decoded, detector: FaceDetector, options: FaceOptions) -> Search:
        """In pixels of the photo."""
        scale, min_face = decoded.scale, options.min_face
        smallest = None if min_face is None else max(1, min_face // scale)
        search = detector.detect(decoded.grey, smallest)
        found = search.faces
        if not found and options.rotate:
            found = best_turned(detector, decoded.grey, smallest)
        faces = [_scaled(face, scale) for face in found]
        return replace(
            search,
            faces=[face for face in faces if face.box.width >= (min_face or 0)] if scale > 1 else faces,
            min_face=max(search.min_face * scale, min_face or 0),
        )

    def _look(self, decoded: Decoded, found: list[Detection], *, align: bool) -> tuple[list[Face], NDArray[np.float32]]:
        scale, photo = decoded.scale, decoded.photo
        near = [_scaled(face, 1 / scale) for face in found]
        looks = self.aligner.align(decoded.grey, near) if align else []
        squares = [one.square for one in (looks or near)]
        tensor = crop_faces(decoded.grey, squares)
        # The middle of a pixel of the picture is that of `scale` of the photo's.
        shift = (scale - 1) / 2
        seen: list[tuple[float | None, Points | None]] = [(None, None)] * len(found)
        if looks:
            seen = [(look.roll, look.points * np.float32(scale) + np.float32(shift)) for look in looks]
        faces = [
            Face(face.box.within(photo.width, photo.height), face.score, roll, points, _larger(square, scale))
            for face, (roll, points), square in zip(found, seen, squares, strict=True)
        ]
        return faces, tensor


def _scaled(face: Detection, factor: float) -> Detection:
    if factor == 1:
        return face
    box, square = face.box, face.square
    sides = (round(side * factor) for side in (box.x, box.y, box.width, box.height))
    return Detection(Box(*sides), face.score, _larger(square, factor))


def _larger(square: Square, factor: float) -> Square:
    return replace(square, x=square.x * factor, y=square.y * factor, side=square.side * factor)
