"""Tracks are those of the service's camera streams."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from api.stream.smoothing import Smoothing
from api.stream.tracks import Tracks as StreamTracks
from emotion_client.video.tracks import SMOOTHING_S, Tracks
from faces.geometry import Box

CLASSES = ("happy", "sad", "neutral")


@dataclass
class Face:
    box: Box
    probabilities: dict[str, float]
    emotion: str = ""
    confidence: float = 0.0


places = st.builds(Box, *(st.integers(0, 60),) * 2, *(st.integers(20, 40),) * 2)
shares = st.tuples(*(st.floats(0.01, 1),) * 3).map(
    lambda row: dict(zip(CLASSES, (v / sum(row) for v in row), strict=True))
)
steps = st.tuples(st.floats(0.01, 1.5), st.lists(st.builds(Face, places, shares), max_size=4))


@given(st.lists(steps, max_size=12))
def test_numbers_smoothing_and_labels_are_those_of_a_stream(frames: list[tuple[float, list[Face]]]) -> None:
    ours, theirs, smoothing = Tracks(), StreamTracks(), Smoothing(SMOOTHING_S)
    now = 0.0
    for step, faces in frames:
        now += step
        tracks = ours.follow(faces, now)
        numbers = theirs.follow([face.box for face in faces], now)
        assert [track.number for track in tracks] == numbers
        for track, face in zip(tracks, faces, strict=True):
            values, best = smoothing.add(track.number, CLASSES, list(face.probabilities.values()), now)
            assert list(track.smoothed.values()) == values
            assert track.emotion == CLASSES[best]
