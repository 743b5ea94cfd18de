"""Where the faces are: what every detector does, and a file for each.

haar  OpenCV's frontal-face Haar cascade
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from faces.decode import Grey


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the upright original image; (x, y) is its top left corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> int:
        return self.width * self.height

    def intersection(self, other: "Box") -> int:
        """The area that both cover, in pixels."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(width, 0) * max(height, 0)


class FaceDetector(Protocol):
    """Called from several threads at once."""

    def detect(self, grey: Grey, min_face: int) -> list[Box]:
        """Boxes of faces at least `min_face` pixels wide in a grey image [height, width], largest first."""
        ...


def merge_overlapping(boxes: Sequence[Box]) -> list[Box]:
    """Greedy non-maximum suppression: of boxes on one face keep the one that comes first.

    Two boxes are on one face when their intersection over union passes 0.3, or when more than 0.6 of the
    smaller one lies within the other. The second rule catches what the cascade likes to add, a small box
    around eyes and nose within the box of the face.
    """
    kept: list[Box] = []
    for box in boxes:
        for other in kept:
            common = box.intersection(other)
            if common > 0.3 * (box.area + other.area - common) or common > 0.6 * min(box.area, other.area):
                break
        else:
            kept.append(box)
    return kept
