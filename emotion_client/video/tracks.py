"""Which face of a frame is which of the frames before, and its emotion over time, as in camera streams."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from emotion_client.video.answers import Box, Face

MEMORY_S = 1.0
"""A face that was hidden for less is known again."""
SMOOTHING_S = 0.4
"""After that time a change is followed to 63 %, however many frames came."""
_SAME = 0.3
"""Intersection over union from which two boxes are one face's."""
_MARGIN = 0.1
"""By how much another emotion must be likelier than the one that is shown, to be shown in its place."""


@dataclass(slots=True)
class Track:
    """A face over time, as it was last seen."""

    number: int
    box: Box
    # When it was seen, seconds.
    at: float
    smoothed: dict[str, float]
    # The emotion to show: it does not flicker.
    emotion: str


@dataclass
class Tracks:
    """Of one video; numbered from 1 in the order of appearance.

    Args:
        memory_s: a face that was hidden for longer gets another number.
        smoothing_s: time constant; 0: none.
    """

    memory_s: float = MEMORY_S
    smoothing_s: float = SMOOTHING_S
    _known: list[Track] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def follow(self, faces: Sequence[Face], now: float) -> list[Track]:
        """The track of each face of a frame.

        Args:
            now: the frame's time, seconds.
        """
        self._known = [track for track in self._known if now - track.at <= self.memory_s]
        found: dict[int, Track] = {}
        taken: set[int] = set()
        for _, _, index, track in sorted(self._pairs(faces), key=lambda pair: pair[:3], reverse=True):
            if index not in found and track.number not in taken:
                found[index] = track
                taken.add(track.number)
                self._see(track, faces[index], now)
        for index, face in enumerate(faces):
            if index not in found:
                values = dict(face.probabilities)
                found[index] = Track(next(self._numbers), face.box, now, values, max(values, key=values.__getitem__))
                self._known.append(found[index])
        return [found[index] for index in range(len(faces))]

    def _pairs(self, faces: Sequence[Face]) -> list[tuple[float, int, int, Track]]:
        """Which may be the same; of equal overlaps the older track goes first."""
        return [
            (overlap, -track.number, index, track)
            for index, face in enumerate(faces)
            for track in self._known
            if (overlap := iou(face.box, track.box)) >= _SAME
        ]

    def _see(self, track: Track, face: Face, now: float) -> None:
        new = face.probabilities
        if not self.smoothing_s or track.smoothed.keys() != new.keys():
            track.smoothed = dict(new)
            track.emotion = max(new, key=new.__getitem__)
        else:
            part = 1 - math.exp(-max(0.0, now - track.at) / self.smoothing_s)
            track.smoothed = {key: old + part * (new[key] - old) for key, old in track.smoothed.items()}
            likeliest = max(track.smoothed, key=track.smoothed.__getitem__)
            if track.smoothed[likeliest] >= track.smoothed[track.emotion] + _MARGIN:
                track.emotion = likeliest
        track.box, track.at = face.box, now


def iou(one: Box, other: Box) -> float:
    """Intersection over union, in [0, 1]."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    common = max(width, 0) * max(height, 0)
    union = one.width * one.height + other.width * other.height - common
    return common / union if union else 0.0
