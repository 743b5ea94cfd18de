"""The train/serve contract of pixels: what every network reads, and the classes it answers with.

FER2013 is 48 x 48 grey; the SavedModels take float32 [N, 48, 48, 1] in [-1, 1].
"""

import numpy as np
from numpy.typing import NDArray

SIDE = 48
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def to_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey levels to a network's input: uint8 [N, 48, 48] -> float32 [N, 48, 48, 1]; 0 becomes -1 and 255 becomes 1."""
    return images[..., None].astype(np.float32) / np.float32(127.5) - np.float32(1)
