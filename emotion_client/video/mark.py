"""Boxes and words on a frame."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from emotion_client.emotions import Language, colour, name
from emotion_client.video.tracks import Track

_LETTERS, _SMALLEST = 1 / 44, 11
"""Letters are this part of the longer side high, and never fewer pixels than that."""

Area = tuple[float, float, float, float]


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans Bold, which Matplotlib brings, and which has Vietnamese letters."""
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


def mark(picture: Image.Image, tracks: Sequence[Track], language: Language) -> None:
    """Draw each track's box, its number, its emotion and how likely that is, smoothed."""
    draw = ImageDraw.Draw(picture)
    size = max(_SMALLEST, round(max(picture.size) * _LETTERS))
    line = max(2, round(max(picture.size) / 320))
    taken: list[Area] = []
    for track in tracks:
        box = track.box
        area = (box.x, box.y, box.x + max(box.width, 2) - 1, box.y + max(box.height, 2) - 1)
        draw.rectangle(area, outline="white", width=line + 1)
        draw.rectangle(area, outline=colour(track.emotion), width=line)
    for track in tracks:
        text = f"{track.number}  {name(track.emotion, language)} {track.smoothed[track.emotion]:.0%}"
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font(size))
        pad = max(3, size // 4)
        place = _place(track, (right - left + 2 * pad, bottom - top + 2 * pad), picture.size, taken)
        taken.append(place)
        draw.rectangle(place, fill=colour(track.emotion), outline="white")
        draw.text((place[0] + pad - left, place[1] + pad - top), text, font=font(size), fill="white")


def _place(track: Track, size: tuple[float, float], within: tuple[int, int], taken: Sequence[Area]) -> Area:
    """Above the box, below it or in it: the first place within the frame that no other label has."""
    width, height = size
    box = track.box
    x = max(0.0, min(box.x, within[0] - width - 1))
    places = []
    for y in (box.y - height, box.y + box.height, box.y, box.y + box.height - height):
        y = max(0.0, min(y, within[1] - height - 1))
        places.append((x, y, x + width, y + height))
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])


def _overlap(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
