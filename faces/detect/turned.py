"""Faces in a photo that lies on its side, stands on its head or leans: the detector looks at it turned."""

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.decode import Grey
from faces.detect import Detection, FaceDetector
from faces.geometry import Box, Square

TURNS = ((90, 180, 270), (45, 315))
"""Degrees that the picture is turned by to the left, one group after the other until one shows a face."""


def best_turned(detector: FaceDetector, grey: Grey, min_face: int | None) -> list[Detection]:
    """The faces at the angle that shows most of them, most surely; in pixels of the picture as it is.

    Detectors see a face at neighbouring angles too, so that faces of several would be counted twice.
    """
    for angles in TURNS:
        found = [_turned(detector, grey, min_face, angle) for angle in angles]
        best = max(found, key=lambda faces: sum(face.score or 1.0 for face in faces))
        if best:
            return best
    return []


def _turned(detector: FaceDetector, grey: Grey, min_face: int | None, angle: int) -> list[Detection]:
    height, width = grey.shape
    # From the picture to the turned one, which is as large as all of it needs.
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    size = (
        round(abs(width * cosine) + abs(height * sine)),
        round(abs(width * sine) + abs(height * cosine)),
    )
    matrix = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0]])
    matrix[:, 2] = (np.array(size) - 1) / 2 - matrix[:, :2] @ ((np.array([width, height]) - 1) / 2)
    if angle % 90:
        picture: Grey = cv2.warpAffine(grey, matrix, size, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    else:
        picture = np.ascontiguousarray(np.rot90(grey, angle // 90))
    back = np.linalg.inv(matrix[:, :2])
    return [_place(face, back, matrix[:, 2], angle) for face in detector.detect(picture, min_face).faces]


def _place(face: Detection, back: NDArray[np.float64], shift: NDArray[np.float64], angle: int) -> Detection:
    box, square = face.box, face.square
    x, y = back @ (np.array([square.x, square.y]) - shift)
    middle = back @ (np.array([box.x + box.width / 2, box.y + box.height / 2]) - shift)
    width, height = (box.height, box.width) if angle % 180 == 90 else (box.width, box.height)
    return Detection(
        Box(round(middle[0] - width / 2), round(middle[1] - height / 2), width, height),
        face.score,
        # What stands upright after a turn to the left leant to the right.
        Square(float(x), float(y), square.side, roll=float(angle if angle <= 180 else angle - 360)),
    )
