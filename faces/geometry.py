"""Places in a photo."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the upright original image; (x, y) is its top left corner. It may pass the edges."""

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> int:
        return self.width * self.height

    def within(self, width: int, height: int) -> "Box":
        """The part of it that lies in an image of that size."""
        left, top = max(self.x, 0), max(self.y, 0)
        right, bottom = min(self.x + self.width, width), min(self.y + self.height, height)
        return Box(left, top, max(right - left, 0), max(bottom - top, 0))


@dataclass(frozen=True, slots=True)
class Square:
    """The part of a picture that a network gets: FER2013's frame, in pixels of the upright original image."""

    x: float
    """Of its centre."""
    y: float
    """Of its centre."""
    side: float
    roll: float = 0.0
    """Degrees that the head leans to the right in the picture; the square leans with it."""
