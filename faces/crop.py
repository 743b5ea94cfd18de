"""Squares of a photo to what the network was trained on."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.contract import SIDE, to_input
from faces.decode import Grey
from faces.geometry import Square


def crop_faces(grey: Grey, squares: Sequence[Square]) -> NDArray[np.float32]:
    """Cut squares out of an upright image: float32 [len(squares), 48, 48, 1], as `to_input` makes it."""
    faces = np.empty((len(squares), SIDE, SIDE), np.uint8)
    for face, square in zip(faces, squares, strict=True):
        face[:] = cut(grey, square, SIDE)
    return to_input(faces)


def cut(grey: Grey, square: Square, side: int) -> Grey:
    """One square, turned upright if it leans, as uint8 [side, side]; beyond the picture its edge pixels go on."""
    half = square.side / 2
    if not square.roll:
        return window(grey, square.x - half, square.y - half, square.x + half, square.y + half, side)
    # Twice the size first, which bounds the cost of a large face; its diagonal needs 1.42 times the side around it.
    reach = half * np.sqrt(2.0)
    around = round(2 * side * np.sqrt(2.0))
    upright = window(grey, square.x - reach, square.y - reach, square.x + reach, square.y + reach, around)
    centre = (around - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), square.roll, 1.0)
    matrix[:, 2] += (2 * side - 1) / 2 - centre
    turned = cv2.warpAffine(upright, matrix, (2 * side, 2 * side), borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(turned, (side, side), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def window(grey: Grey, x1: float, y1: float, x2: float, y2: float, side: int) -> Grey:
    """What lies between two corners, in pixels, resized to a square; beyond the picture its edge pixels go on."""
    left, top = round(x1), round(y1)
    right, bottom = max(round(x2), left + 1), max(round(y2), top + 1)
    height, width = grey.shape
    beyond = (max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width))
    piece: NDArray[Any] = grey[
        max(0, min(top, height - 1)) : max(1, bottom), max(0, min(left, width - 1)) : max(1, right)
    ]
    if any(beyond):
        # A window that lies wholly outside still has the nearest edge within.
        short = (bottom - top - piece.shape[0], right - left - piece.shape[1])
        piece = cv2.copyMakeBorder(
            piece,
            min(beyond[0], short[0]), max(0, short[0] - beyond[0]),
            min(beyond[2], short[1]), max(0, short[1] - beyond[2]),
            cv2.BORDER_REPLICATE,
        )  # fmt: skip
    return _scaled(piece, side)


def to_face(crop: Grey) -> Grey:
    """Scale a cropped face of any size to uint8 [48, 48]."""
    return _scaled(crop, SIDE)


def _scaled(crop: Grey, side: int) -> Grey:
    # INTER_AREA averages every source pixel, which avoids aliasing; it is nearest neighbour when growing.
    interpolation = cv2.INTER_AREA if min(crop.shape) >= side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, (side, side), interpolation=interpolation), np.uint8)
