"""Which face of a frame is which of the frames before: greedy matching by overlap, with a second of memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from faces.geometry import Box

MEMORY_S = 1.0
"""A face that was hidden for less is known again."""
_SAME = 0.3
"""Intersection over union from which two boxes are one face's."""


@dataclass(slots=True)
class _Track:
    number: int
    box: Box
    seen: float


@dataclass(slots=True)
class Tracks:
    """Of one stream; numbered from 1 in the order of appearance."""

    _tracks: list[_Track] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def follow(self, boxes: Sequence[Box], now: float) -> list[int]:
        """The track of each box of a frame.

        Args:
            now: when the frame came, seconds.
        """
        self._tracks = [track for track in self._tracks if now - track.seen <= MEMORY_S]
        pairs = sorted(
            (
                (overlap, -track.number, index, track)
                for index, box in enumerate(boxes)
                for track in self._tracks
                if (overlap := iou(box, track.box)) >= _SAME
            ),
            key=lambda pair: pair[:3],
            reverse=True,
        )
        found: dict[int, _Track] = {}
        taken: set[int] = set()
        for _, _, index, track in pairs:
            if index not in found and track.number not in taken:
                found[index] = track
                taken.add(track.number)
        for index, box in enumerate(boxes):
            if index not in found:
                found[index] = _Track(next(self._numbers), box, now)
                self._tracks.append(found[index])
            found[index].box, found[index].seen = box, now
        return [found[index].number for index in range(len(boxes))]

    @property
    def known(self) -> set[int]:
        """Those that are remembered."""
        return {track.number for track in self._tracks}


def iou(one: Box, other: Box) -> float:
    """Intersection over union, in [0, 1]."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    common = max(width, 0) * max(height, 0)
    return common / union if (union := one.area + other.area - common) else 0.0
