"""Where the faces are."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
from cv2.data import haarcascades

from api.images import Grey


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the upright original image; (x, y) is its top left corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> int:
        return self.width * self.height

    def intersection(self, other: "Box") -> int:
        """The area that both cover, in pixels."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(width, 0) * max(height, 0)


class FaceDetector(Protocol):
    """Called from several threads at once."""

    def detect(self, grey: Grey, min_face: int) -> list[Box]:
        """Boxes of faces at least `min_face` pixels wide in a grey image [height, width], largest first."""
        ...


class HaarDetector:
    """OpenCV's frontal-face Haar cascade (Viola and Jones 2001), on a copy of bounded size.

    It gives no confidence: the number of raw hits behind a box, which ranks overlapping ones, is none.
    """

    # On 0.9 to 3 megapixel photos, 640 pixels and steps of 1.2 took 65-180 ms and found no fewer true faces
    # than full size (280-2,100 ms); finer steps added false ones. The cascade normalises the contrast of each
    # window itself, so equalising the histogram first changed nothing.
    _SCALE_FACTOR = 1.2
    _MIN_NEIGHBORS = 5
    # The cascade was trained on windows of 24 x 24 pixels and cannot see smaller faces.
    _WINDOW = 24

    def __init__(self, max_side: int) -> None:
        """max_side: pixels; a longer image is shrunk to it for detection."""
        self._max_side = max_side
        self._file = Path(haarcascades) / "haarcascade_frontalface_default.xml"
        # CascadeClassifier keeps scratch space in itself and is not thread-safe.
        self._local = threading.local()

    def detect(self, grey: Grey, min_face: int) -> list[Box]:
        height, width = grey.shape
        scale = min(1.0, self._max_side / max(height, width))
        small_size = (round(width * scale), round(height * scale))
        if min(small_size) < self._WINDOW:
            return []
        small = cv2.resize(grey, small_size, interpolation=cv2.INTER_AREA) if scale < 1 else grey
        smallest = max(self._WINDOW, int(min_face * scale))
        found, hits = self._cascade().detectMultiScale2(
            small,
            scaleFactor=self._SCALE_FACTOR,
            minNeighbors=self._MIN_NEIGHBORS,
            minSize=(smallest, smallest),
        )
        ranked = sorted(zip(hits, found, strict=True), key=lambda pair: -int(pair[0]))
        boxes = [_to_original(box, width / small_size[0], height / small_size[1], width, height) for _, box in ranked]
        return sorted(merge_overlapping([box for box in boxes if box.width >= min_face]), key=lambda box: -box.area)

    def _cascade(self) -> cv2.CascadeClassifier:
        if not hasattr(self._local, "cascade"):
            self._local.cascade = cv2.CascadeClassifier(str(self._file))
        cascade: cv2.CascadeClassifier = self._local.cascade
        return cascade


def merge_overlapping(boxes: Sequence[Box]) -> list[Box]:
    """Greedy non-maximum suppression: of boxes on one face keep the one that comes first.

    Two boxes are on one face when their intersection over union passes 0.3, or when more than 0.6 of the
    smaller one lies within the other. The second rule catches what the cascade likes to add, a small box
    around eyes and nose within the box of the face.
    """
    kept: list[Box] = []
    for box in boxes:
        if not any(_same_face(box, other) for other in kept):
            kept.append(box)
    return kept


def _same_face(a: Box, b: Box) -> bool:
    common = a.intersection(b)
    return common > 0.3 * (a.area + b.area - common) or common > 0.6 * min(a.area, b.area)


def _to_original(box: Sequence[int], x_scale: float, y_scale: float, width: int, height: int) -> Box:
    x, y, w, h = (int(value) for value in box)
    left, top = round(x * x_scale), round(y * y_scale)
    right, bottom = min(round((x + w) * x_scale), width), min(round((y + h) * y_scale), height)
    return Box(left, top, right - left, bottom - top)
