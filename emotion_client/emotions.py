"""The classes: their names, and their colours."""

from typing import Literal

Language = Literal["en", "vi"]

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""FER2013's, in its order."""

_VIETNAMESE = {
    "angry": "tức giận",
    "disgust": "ghê tởm",
    "fear": "sợ hãi",
    "happy": "vui vẻ",
    "sad": "buồn bã",
    "surprise": "ngạc nhiên",
    "neutral": "bình thường",
}
# Dark enough for white letters, and no two of the same lightness side by side in a stack.
_COLOURS = {
    "angry": "#b3261e",
    "disgust": "#5c7a00",
    "fear": "#5b2e91",
    "happy": "#b36b00",
    "sad": "#1f5fae",
    "surprise": "#b8467f",
    "neutral": "#5f6b76",
}


def name(emotion: str, language: Language) -> str:
    """A class in a language; one that we do not know keeps its name."""
    return _VIETNAMESE.get(emotion, emotion) if language == "vi" else emotion


def colour(emotion: str) -> str:
    """As #rrggbb."""
    return _COLOURS.get(emotion, "#30363c")
