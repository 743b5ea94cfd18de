"""Tracks and smoothing, as arithmetic."""

import math

import pytest

from api.stream.smoothing import MARGIN, Smoothing
from api.stream.tracks import Tracks, iou
from faces.geometry import Box

LEFT, RIGHT = Box(0, 0, 100, 100), Box(300, 0, 100, 100)
CLASSES = ("sad", "happy")


def moved(box: Box, by: int) -> Box:
    return Box(box.x + by, box.y, box.width, box.height)


@pytest.mark.parametrize(
    ("other", "expected"), [(LEFT, 1), (RIGHT, 0), (Box(50, 0, 100, 100), 1 / 3), (Box(0, 0, 0, 0), 0)]
)
def test_intersection_over_union(other: Box, expected: float) -> None:
    assert iou(LEFT, other) == pytest.approx(expected)


def test_faces_keep_their_tracks_while_they_move_and_change_places_in_the_list() -> None:
    tracks = Tracks()
    assert tracks.follow([LEFT, RIGHT], 0.0) == [1, 2]
    assert tracks.follow([moved(RIGHT, -20), moved(LEFT, 20)], 0.1) == [2, 1]
    assert tracks.follow([moved(LEFT, 40)], 0.2) == [1]


def test_a_hidden_face_is_known_for_a_second() -> None:
    tracks = Tracks()
    tracks.follow([LEFT], 0.0)
    assert tracks.follow([], 0.5) == []
    assert tracks.follow([LEFT], 0.9) == [1]
    assert tracks.follow([], 1.5) == []
    assert tracks.follow([LEFT], 2.0) == [2]
    assert tracks.known == {2}


def test_no_two_faces_share_a_track() -> None:
    tracks = Tracks()
    tracks.follow([LEFT], 0.0)
    # The better match gets it.
    assert tracks.follow([moved(LEFT, 30), moved(LEFT, 5)], 0.1) == [2, 1]


def test_a_change_is_followed_to_63_percent_in_the_time_constant_at_any_rate() -> None:
    for frames in (1, 4, 20):
        smoothing = Smoothing(0.4)
        smoothing.add(1, CLASSES, [1.0, 0.0], 0.0)
        for index in range(frames):
            values, _ = smoothing.add(1, CLASSES, [0.0, 1.0], 0.4 * (index + 1) / frames)
        assert values[1] == pytest.approx(1 - 1 / math.e)


def test_the_label_stays_until_another_is_clearly_likelier() -> None:
    smoothing = Smoothing(0.4)
    shown = [smoothing.add(1, CLASSES, [0.52, 0.48], 0.0)[1]]
    shown += [smoothing.add(1, CLASSES, [0.5 - MARGIN / 3, 0.5 + MARGIN / 3], 10.0 * n)[1] for n in (1, 2)]
    shown += [smoothing.add(1, CLASSES, [0.3, 0.7], 30.0)[1]]
    assert shown == [0, 0, 0, 1]


def test_without_smoothing_each_frame_speaks_for_itself() -> None:
    smoothing = Smoothing(0)
    smoothing.add(1, CLASSES, [0.9, 0.1], 0.0)
    assert smoothing.add(1, CLASSES, [0.49, 0.51], 0.05) == ([0.49, 0.51], 1)


def test_another_models_classes_begin_anew() -> None:
    smoothing = Smoothing(0.4)
    smoothing.add(1, CLASSES, [1.0, 0.0], 0.0)
    assert smoothing.add(1, ("a", "b"), [0.0, 1.0], 0.1) == ([0.0, 1.0], 1)
