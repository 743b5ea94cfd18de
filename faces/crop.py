"""Boxes in a photo to what the network was trained on."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.contract import SIDE, to_input
from faces.decode import Grey
from faces.detect import Box


def crop_faces(grey: Grey, boxes: Sequence[Box]) -> NDArray[np.float32]:
    """Cut boxes out of an upright image: float32 [len(boxes), 48, 48, 1], as `to_input` makes it."""
    faces = np.empty((len(boxes), SIDE, SIDE), np.uint8)
    for face, box in zip(faces, boxes, strict=True):
        face[:] = to_face(grey[box.y : box.y + box.height, box.x : box.x + box.width])
    return to_input(faces)


def to_face(crop: Grey) -> Grey:
    """Scale a cropped face of any size to uint8 [48, 48]."""
    # INTER_AREA averages every source pixel, which avoids aliasing; it is nearest neighbour when growing.
    interpolation = cv2.INTER_AREA if min(crop.shape) >= SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, (SIDE, SIDE), interpolation=interpolation), np.uint8)
