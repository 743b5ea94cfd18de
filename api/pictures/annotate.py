"""Boxes, numbers and emotions over a photo."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from faces.geometry import Box

Language = Literal["en", "vi"]

_FONT = Path(__file__).with_name("DejaVuSans-Bold.ttf")
_VIETNAMESE = {
    "angry": "tức giận",
    "disgust": "ghê tởm",
    "fear": "sợ hãi",
    "happy": "vui vẻ",
    "sad": "buồn bã",
    "surprise": "ngạc nhiên",
    "neutral": "bình thường",
}
# Dark enough for white letters (contrast of 4.5 at least). The words tell, too: not everybody sees seven hues.
_COLOURS = {
    "angry": "#b3261e",
    "disgust": "#4d6b00",
    "fear": "#6b3fa0",
    "happy": "#8a5a00",
    "sad": "#1f5fae",
    "surprise": "#a3316f",
    "neutral": "#4f5b66",
}
_OTHER = "#30363c"
_SMALLEST, _LETTERS = 10, 1 / 42
"""Letters are this part of the longer side high, and never fewer pixels than that."""

Area = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Marked:
    """A face to be marked."""

    box: Box
    emotion: str
    # In [0, 1].
    confidence: float


def emotion_name(emotion: str, language: Language) -> str:
    """A class in a language; a class that we do not know keeps its name."""
    return _VIETNAMESE.get(emotion, emotion) if language == "vi" else emotion


def annotate(picture: Image.Image, faces: Sequence[Marked], width: int, language: Language) -> None:
    """Draw each face's box, its number from 0, its emotion and its confidence.

    Args:
        width: of the photo that the boxes are in the pixels of; the picture may be smaller.
    """
    draw = ImageDraw.Draw(picture)
    scale = picture.width / width
    line = max(2, round(max(picture.size) / 350))
    size = max(_SMALLEST, round(max(picture.size) * _LETTERS))
    areas: list[Area] = []
    for face in faces:
        box = face.box
        x1, y1 = box.x * scale, box.y * scale
        area = (x1, y1, max(x1 + 1, (box.x + box.width) * scale - 1), max(y1 + 1, (box.y + box.height) * scale - 1))
        areas.append(area)
        draw.rectangle(area, outline="white", width=line + 2)
        draw.rectangle(area, outline=_COLOURS.get(face.emotion, _OTHER), width=line)
    taken: list[Area] = []
    for number, (face, area) in enumerate(zip(faces, areas, strict=True)):
        text, font = _text(number, face, language, size, picture.width)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        pad = max(2, size // 5)
        place = _place(area, (right - left + 2 * pad, bottom - top + 2 * pad), picture.size, taken)
        taken.append(place)
        draw.rectangle(place, fill=_COLOURS.get(face.emotion, _OTHER), outline="white")
        draw.text((place[0] + pad - left, place[1] + pad - top), text, font=font, fill="white")


def _text(number: int, face: Marked, language: Language, size: int, room: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """The longest words that the picture has room for, and their letters."""
    name, percent = emotion_name(face.emotion, language), f"{face.confidence:.0%}"
    font = _font(size)
    words = (f"{number}: {name} {percent}", f"{number}: {name}", str(number))
    return next((text for text in words if font.getlength(text) + size < room), words[-1]), font


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_FONT, size, layout_engine=ImageFont.Layout.BASIC)


def _place(box: Area, size: tuple[float, float], within: tuple[int, int], taken: Sequence[Area]) -> Area:
    """Where a label of that size goes: above its box, below, or within it, and not on another if there is room."""
    width, height = size
    x = min(max(box[0], 0), max(within[0] - width - 1, 0))
    places = []
    for y in (box[1] - height, box[3], box[1], box[3] - height):
        y = min(max(y, 0), max(within[1] - height - 1, 0))
        places.append((x, y, x + width, y + height))
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])


def _overlap(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
