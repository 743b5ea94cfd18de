"""OpenCV's frontal-face Haar cascade."""

import threading

import cv2
import numpy as np
from cv2.data import haarcascades

from faces.decode import Grey
from faces.detect import Box, merge_overlapping


class HaarDetector:
    """The cascade of Viola and Jones (2001), on a copy of bounded size.

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
        """
        Args:
            max_side: pixels; a longer image is shrunk to it for detection.
        """
        self._max_side = max_side
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
        if not hasattr(self._local, "cascade"):
            self._local.cascade = cv2.CascadeClassifier(haarcascades + "haarcascade_frontalface_default.xml")
        found, hits = self._local.cascade.detectMultiScale2(
            small,
            scaleFactor=self._SCALE_FACTOR,
            minNeighbors=self._MIN_NEIGHBORS,
            minSize=(smallest, smallest),
        )
        boxes = []
        for _, (x, y, w, h) in sorted(zip(hits, found, strict=True), key=lambda pair: -int(pair[0])):
            corners = np.array([[x, y], [x + w, y + h]]) * (width / small_size[0], height / small_size[1])
            (left, top), (right, bottom) = np.minimum(np.rint(corners).astype(int), (width, height)).tolist()
            boxes.append(Box(left, top, right - left, bottom - top))
        return sorted(merge_overlapping([box for box in boxes if box.width >= min_face]), key=lambda box: -box.area)
