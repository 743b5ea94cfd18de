"""Detectors that do what a test says, because no real one hangs or fails when it is told to."""

from collections.abc import Callable

from faces.decode import Grey
from faces.detect import Detection, Search, sort_out
from faces.detect.choice import Detectors
from faces.geometry import Box, Square


class MadeUp:
    """Finds what `find` says."""

    name = "haar"

    def __init__(self, find: Callable[[Grey], list[Box]]) -> None:
        self._find = find

    def detect(self, grey: Grey, min_face: int | None = None) -> Search:
        faces = [
            Detection(box, None, Square(box.x + box.width / 2, box.y + box.height / 2, float(box.width)))
            for box in self._find(grey)
        ]
        return sort_out(faces, self.name, grey, 24, None)


def made_up(find: Callable[[Grey], list[Box]]) -> Detectors:
    """What a gateway takes for its detectors."""
    return Detectors({"haar": MadeUp(find)}, "haar", "a test")
