"""What holds for every detector."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from faces.contract import SIDE
from faces.crop import cut
from faces.decode import Grey, decode
from faces.detect import FaceDetector, suppress
from faces.geometry import Box, Square

# FER2013's frame of the faces in the samples, by eye: centre and side.
HOPPER = (268, 213, 212)
COLLINS = (772, 238, 220)


def is_at(square: Square, place: tuple[int, int, int], scale: float = 1.0) -> bool:
    x, y, side = (value * scale for value in place)
    near = abs(square.x - x) < 0.12 * side and abs(square.y - y) < 0.12 * side
    return near and 0.8 < square.side / side < 1.25


def picture(face: Grey, width: int, height: int, side: int, places: list[tuple[int, int]]) -> Grey:
    """The portrait's face, `side` pixels high, at several places of an even ground."""
    ground = np.full((height, width), 150, np.uint8)
    head = cut(face, Square(268, 225, 400), side * 2)
    mask = np.zeros(head.shape, np.uint8)
    cv2.ellipse(mask, (side, side), (int(side * 0.75), int(side * 0.95)), 0, 0, 360, 255, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), side / 12)
    weight = mask.astype(np.float32) / 255
    for x, y in places:
        part = ground[y : y + side * 2, x : x + side * 2]
        part[:] = (weight * head + (1 - weight) * part).astype(np.uint8)
    return ground


def test_one_face(detector: FaceDetector, one: Grey) -> None:
    [face] = detector.detect(one).faces
    assert is_at(face.square, HOPPER)


def test_two_faces_largest_first(detector: FaceDetector, two: Grey) -> None:
    found = detector.detect(two).faces
    assert len(found) == 2
    assert found[0].box.area >= found[1].box.area
    assert any(is_at(face.square, COLLINS) for face in found)


def test_twelve_faces_on_one_sheet(detector: FaceDetector, group: Grey) -> None:
    found = detector.detect(group).faces
    assert {(int(4 * face.square.x // group.shape[1]), int(3 * face.square.y // group.shape[0])) for face in found} == {
        (column, row) for column in range(4) for row in range(3)
    }
    assert len(found) == 12


def test_scores_are_probabilities_or_none_at_all(detector: FaceDetector, two: Grey) -> None:
    scores = [face.score for face in detector.detect(two).faces]
    assert all(score is None if detector.name == "haar" else 0 < (score or 0) <= 1 for score in scores)


def test_places_are_in_original_pixels(detector: FaceDetector, one: Grey) -> None:
    [face] = detector.detect(cv2.resize(one, None, fx=4, fy=4)).faces
    assert is_at(face.square, HOPPER, 4)


@pytest.mark.parametrize(
    ("width", "height", "side", "places"),
    [
        (4032, 3024, 200, [(200, 300), (1100, 1500), (1900, 200), (2700, 1700), (3300, 400), (3500, 2400)]),
        (1920, 1440, 110, [(50, 100), (420, 700), (800, 60), (1150, 900), (1500, 300), (1650, 1150)]),
        (6000, 600, 216, [(700, 90), (4800, 100)]),
    ],
)
def test_faces_are_found_in_pictures_of_any_size_and_shape(
    detector: FaceDetector, one: Grey, width: int, height: int, side: int, places: list[tuple[int, int]]
) -> None:
    if detector.name == "haar":
        pytest.skip("the cascade sees nothing under 24 pixels")
    found = detector.detect(picture(one, width, height, side, places)).faces
    assert len(found) == len(places)


def test_a_search_says_how_small_a_face_it_could_see(detector: FaceDetector, one: Grey) -> None:
    large = cv2.resize(one, None, fx=4, fy=4)
    plain = detector.detect(large)
    assert plain.side == 640
    assert plain.min_face > 2400 / 640 * 10
    closer = detector.detect(large, 20)
    assert closer.side > plain.side
    assert closer.min_face < plain.min_face
    assert detector.detect(large, 1).side == 1920


def test_small_faces_are_found_where_they_are_asked_for(detector: FaceDetector, one: Grey) -> None:
    if detector.name == "haar":
        pytest.skip("the cascade sees nothing under 24 pixels")
    crowd = picture(one, 3000, 2000, 48, [(100, 100), (1500, 900), (2700, 1700)])
    assert len(detector.detect(crowd, 20).faces) == 3
    assert detector.detect(crowd).min_face > 50


def test_min_face_leaves_out_smaller_ones_and_keeps_larger_ones_where_they_are(
    detector: FaceDetector, two: Grey
) -> None:
    plain = detector.detect(two).faces
    for face in plain:
        kept = detector.detect(two, face.box.width - 1).faces
        near = [abs(face.box.x - other.box.x) + abs(face.box.width - other.box.width) for other in kept]
        assert min(near) < 0.03 * face.box.width
    assert detector.detect(two, max(face.box.width for face in plain) + 60).faces == []
    assert detector.detect(two, 25_000_000).faces == []


def test_a_face_hardly_wider_than_min_face_is_found(detector: FaceDetector, one: Grey) -> None:
    small = cv2.resize(one, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    [face] = detector.detect(np.asarray(small, np.uint8)).faces
    again = detector.detect(np.asarray(small, np.uint8), face.box.width - 1)
    assert [found.box for found in again.faces] == [face.box]
    narrower = detector.detect(np.asarray(small, np.uint8), face.box.width + 1)
    assert narrower.faces == []
    assert [found.box for found in narrower.smaller] == [face.box]


def test_a_face_that_fills_the_picture_is_found(detector: FaceDetector, one: Grey) -> None:
    close = cut(one, Square(268, 225, 300), 900)
    assert len(detector.detect(close).faces) == 1


def test_dark_faces_are_found(detector: FaceDetector, two: Grey) -> None:
    assert len(detector.detect((two * 0.25).astype(np.uint8)).faces) == 2


@pytest.mark.parametrize("angle", [-30, -20, -10, 10, 20, 30])
def test_leaning_heads_are_found(detector: FaceDetector, one: Grey, angle: int) -> None:
    if detector.name == "haar":
        pytest.skip("the cascade was trained on upright faces")
    matrix = cv2.getRotationMatrix2D((268, 213), -angle, 1)
    leaning = cv2.warpAffine(one, matrix, (512, 600), borderMode=cv2.BORDER_REPLICATE)
    [face] = detector.detect(np.asarray(leaning, np.uint8)).faces
    assert abs(face.square.x - 268) < 40
    assert abs(face.square.y - 213) < 40


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (12, 12), (23, 23), (24, 24), (30, 9000), (65_000, 1)])
def test_shapes_without_room_for_a_face(detector: FaceDetector, shape: tuple[int, int]) -> None:
    assert detector.detect(np.zeros(shape, np.uint8)).faces == []
    assert detector.detect(np.zeros(shape, np.uint8), 1).faces == []


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_picture_of_few_pixels_has_no_face_that_is_not_in_it(detector: FaceDetector, grey: int) -> None:
    for height in range(1, 40):
        assert detector.detect(np.full((height, 200), grey, np.uint8)).faces == []


def test_a_thumbnail_has_a_face(detector: FaceDetector, one: Grey) -> None:
    if detector.name == "haar":
        pytest.skip("the cascade wants more of a head around a face")
    thumbnail = cv2.resize(cut(one, Square(268, 225, 330), 330), (48, 48), interpolation=cv2.INTER_AREA)
    assert len(detector.detect(np.asarray(thumbnail, np.uint8)).faces) == 1


def test_noise_has_no_face(detector: FaceDetector) -> None:
    assert detector.detect(np.random.default_rng(1).integers(0, 255, (400, 500), np.uint8)).faces == []


def test_many_threads_agree(detector: FaceDetector, one: Grey, two: Grey) -> None:
    pictures = [one, two] * 8
    alone = [detector.detect(image) for image in pictures[:2]] * 8
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(detector.detect, pictures)) == alone


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_rotated_phone_photo_gives_the_upright_place(
    detector: FaceDetector, one: Grey, encode: Callable[..., bytes], orientation: int
) -> None:
    turns = {3: 2, 6: 1, 8: 3}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(one, turns)))
    photo = decode(encode(stored, "PNG", exif=exif), max_bytes=10 * 2**20, max_pixels=25_000_000)
    assert detector.detect(photo) == detector.detect(one)


def boxes(*corners: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(corners, np.float32)


def test_of_overlapping_boxes_the_best_is_kept() -> None:
    some = boxes((0, 0, 100, 100), (10, 10, 110, 110), (20, 20, 60, 60), (100, 0, 190, 90))
    scores = np.array([0.9, 0.8, 0.7, 0.95], np.float32)
    assert suppress(some, scores, 0.3) == [3, 0, 2]
    assert suppress(some, scores, 0.3, of_smaller=True) == [3, 0]
    assert suppress(some[:0], scores[:0], 0.3) == []


def test_neighbours_that_touch_are_two_faces() -> None:
    assert suppress(boxes((0, 0, 100, 100), (80, 0, 180, 100)), np.array([0.9, 0.8], np.float32), 0.3) == [0, 1]


def test_a_box_is_cut_at_the_pictures_edges() -> None:
    assert Box(-5, 10, 20, 200).within(100, 90) == Box(0, 10, 15, 80)
    assert Box(3, 4, 5, 6).within(100, 90) == Box(3, 4, 5, 6)
    assert SIDE == 48
