"""Heads that lean are turned upright."""

import cv2
import numpy as np
import pytest

from faces.align import Aligner
from faces.crop import cut
from faces.decode import Grey
from faces.detect import Detection, FaceDetector
from faces.detect.onet import UPRIGHT
from faces.geometry import Box, Square

CENTRE = (268, 213)
FACE = Detection(Box(160, 105, 215, 215), None, Square(*map(float, CENTRE), 212.0))


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner()


def leaning(picture: Grey, angle: float) -> Grey:
    """The picture turned by that many degrees to the right about the face."""
    matrix = cv2.getRotationMatrix2D(CENTRE, -angle, 1)
    turned = cv2.warpAffine(picture, matrix, (512, 600), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, np.uint8)


@pytest.mark.parametrize("angle", [-50, -35, -20, 20, 35, 50])
def test_the_roll_is_that_of_the_head(aligner: Aligner, one: Grey, angle: int) -> None:
    [look] = aligner.align(leaning(one, angle), [FACE])
    assert look.roll == pytest.approx(angle, abs=7)


def test_a_head_that_hardly_leans_keeps_the_detectors_square(aligner: Aligner, one: Grey) -> None:
    [look] = aligner.align(leaning(one, 5), [FACE])
    assert look.square == FACE.square


@pytest.mark.parametrize("angle", [-45, 30])
def test_the_crop_of_a_leaning_head_is_nearly_that_of_the_upright_one(aligner: Aligner, one: Grey, angle: int) -> None:
    picture = leaning(one, angle)
    square = aligner.align(picture, [FACE])[0].square
    upright = cut(one, FACE.square, 48).astype(float)
    unaligned = np.corrcoef(upright.ravel(), cut(picture, FACE.square, 48).ravel())[0, 1]
    aligned = np.corrcoef(upright.ravel(), cut(picture, square, 48).ravel())[0, 1]
    assert aligned > 0.75
    assert aligned > unaligned + 0.1


def test_landmarks_are_where_fer2013_has_them_and_turn_with_the_head(aligner: Aligner, one: Grey) -> None:
    for angle in (0, 30):
        points = aligner.align(leaning(one, angle), [FACE])[0].points
        cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        expected = (UPRIGHT - 23.5) * 212 / 48 @ np.array([[cosine, sine], [-sine, cosine]]) + CENTRE
        assert np.abs(points - expected).max() < 0.15 * 212


def test_whichever_detector_found_them(aligner: Aligner, detector: FaceDetector, two: Grey) -> None:
    found = detector.detect(two).faces
    looks = aligner.align(two, found)
    assert [look.points.shape for look in looks] == [(5, 2)] * 2
    assert all(abs(look.roll) < 25 for look in looks)


def test_no_face(aligner: Aligner, one: Grey) -> None:
    assert aligner.align(one, []) == []


def test_a_face_at_the_edge_is_looked_at_too(aligner: Aligner, one: Grey) -> None:
    corner = Detection(Box(-80, -90, 200, 200), None, Square(20.0, 10.0, 200.0))
    [look] = aligner.align(one, [corner])
    assert np.isfinite(look.points).all()
    assert np.isfinite(look.roll)
