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
        crop = grey[box.y : box.y + box.height, box.x : box.x + box.width]
        # INTER_AREA averages every source pixel, which avoids aliasing; it is nearest neighbour when growing.
        shrinking = box.width >= SIDE and box.height >= SIDE
        interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        face[:] = cv2.resize(crop, (SIDE, SIDE), interpolation=interpolation)
    return to_input(faces)
