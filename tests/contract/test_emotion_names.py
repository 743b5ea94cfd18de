"""Photos, videos and the page call an emotion the same in Vietnamese."""

import re
from pathlib import Path

import pytest

from api.pictures.annotate import emotion_name
from emotion_client import emotions
from faces.contract import CLASSES

WORDS = (Path(__file__).parents[2] / "api/web/words.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("emotion", CLASSES)
def test_every_list_has_the_same_name(emotion: str) -> None:
    _, vietnamese = re.findall(rf'"emotion\.{emotion}": "(.+)"', WORDS)
    assert emotion_name(emotion, "vi") == emotions.name(emotion, "vi") == vietnamese != emotion
