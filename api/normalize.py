"""The train/serve contract of pixels: how a face in a photo becomes what the network was trained on.

FER2013 is 48 x 48 grey; the SavedModels take float32 [N, 48, 48, 1] in [-1, 1].
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from api.faces import Box
from api.images import Grey

SIDE = 48


def crop_faces(grey: Grey, boxes: Sequence[Box]) -> NDArray[np.float32]:
    """Cut boxes out of an upright image: float32 [len(boxes), 48, 48, 1]; 0 becomes -1 and 255 becomes 1."""
    faces = np.empty((len(boxes), SIDE, SIDE, 1), np.float32)
    for face, box in zip(faces, boxes, strict=True):
        crop = grey[box.y : box.y + box.height, box.x : box.x + box.width]
        # INTER_AREA averages every source pixel, which avoids aliasing; it is nearest neighbour when growing.
        shrinking = box.width >= SIDE and box.height >= SIDE
        interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        face[:, :, 0] = cv2.resize(crop, (SIDE, SIDE), interpolation=interpolation)
    return faces / np.float32(127.5) - np.float32(1)
