"""OpenCV's frontal-face Haar cascade."""

import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from cv2.data import haarcascades

from faces.decode import Grey
from faces.detect import SIDE_MAX, STANDARD_SIDE, Detection, Search, shrink, sort_out, suppress
from faces.geometry import Box, Square

_FRAME = 0.995
"""FER2013's frame is a square on the box's centre with this share of its side."""
_RAW = 0.75
"""Windows of this share of `min_face` still count: a box is the mean of its hits, of which some are smaller."""


class Haar:
    """OpenCV's frontal-face Haar cascade (Viola & Jones 2001), on a copy of bounded size.

    It gives no confidence: the number of raw hits behind a box, which ranks overlapping ones, is none.

    Args:
        side: longer side of the picture searched, pixels.
        side_max: the same where `min_face` asks for more.
    """

    name = "haar"

    # On 0.9 to 3 megapixel photos, 640 pixels and steps of 1.2 took 65-180 ms and found no fewer true faces
    # than full size (280-2,100 ms); finer steps added false ones. The cascade normalises the contrast of each
    # window itself, so equalising the histogram first changed nothing.
    _SCALE_FACTOR = 1.2
    _MIN_NEIGHBORS = 5
    # The cascade was trained on windows of 24 x 24 pixels and cannot see smaller faces.
    _WINDOW = 24

    def __init__(self, *, side: int = STANDARD_SIDE, side_max: int = SIDE_MAX) -> None:
        self._side, self._side_max = side, side_max
        self._file = Path(haarcascades) / "haarcascade_frontalface_default.xml"
        # CascadeClassifier keeps scratch space in itself and is not thread-safe.
        self._local = threading.local()

    def detect(self, grey: Grey, min_face: int | None = None) -> Search:
        wanted = None if min_face is None else max(1, min_face // 2)
        small, scale = shrink(grey, self._side, wanted, self._side_max)
        visible = round(self._WINDOW / scale)
        if min(small.shape) < self._WINDOW:
            return sort_out([], self.name, small, visible, min_face)
        smallest = max(self._WINDOW, int((min_face or 0) * scale * _RAW))
        found, hits = self._cascade().detectMultiScale2(
            small,
            scaleFactor=self._SCALE_FACTOR,
            minNeighbors=self._MIN_NEIGHBORS,
            minSize=(smallest, smallest),
        )
        faces = [_detection(found[index], scale) for index in _one_a_face(found, hits)]
        return sort_out(faces, self.name, small, visible, min_face)

    def _cascade(self) -> cv2.CascadeClassifier:
        if not hasattr(self._local, "cascade"):
            self._local.cascade = cv2.CascadeClassifier(str(self._file))
        cascade: cv2.CascadeClassifier = self._local.cascade
        return cascade


def _one_a_face(found: Sequence[Sequence[int]], hits: Sequence[int]) -> list[int]:
    # The second pass catches what the cascade likes to add: a small box around eyes and nose within that of the face.
    if not len(found):
        return []
    corners = np.array(found, np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    scores = np.array(hits, np.float32).ravel()
    kept = suppress(corners, scores, 0.3)
    return [kept[index] for index in suppress(corners[kept], scores[kept], 0.6, of_smaller=True)]


def _detection(box: Sequence[int], scale: float) -> Detection:
    x, y, width, height = (int(value) / scale for value in box)
    left, top = round(x), round(y)
    return Detection(
        Box(left, top, round(x + width) - left, round(y + height) - top),
        None,
        Square(x + width / 2, y + height / 2, _FRAME * width),
    )
