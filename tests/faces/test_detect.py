from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from faces.decode import Grey, decode
from faces.detect import Box, merge_overlapping
from faces.detect.haar import HaarDetector

LIMITS = {"max_bytes": 10 * 2**20, "max_pixels": 25_000_000}

# Where the faces are in the samples, from forehead to chin, as measured by eye.
HOPPER = Box(160, 105, 215, 215)
COLLINS = Box(662, 128, 220, 220)


@pytest.fixture(scope="module")
def detector() -> HaarDetector:
    return HaarDetector(640)


def overlap(a: Box, b: Box) -> float:
    common = a.intersection(b)
    return common / (a.area + b.area - common)


def test_one_face(detector: HaarDetector, one_face: bytes) -> None:
    [box] = detector.detect(decode(one_face, **LIMITS), 24)
    assert overlap(box, HOPPER) > 0.8


def test_two_faces_largest_first(detector: HaarDetector, two_faces: bytes) -> None:
    first, second = detector.detect(decode(two_faces, **LIMITS), 24)
    assert overlap(first, HOPPER) > 0.8
    assert overlap(second, COLLINS) > 0.8
    assert first.area >= second.area


def test_boxes_are_in_original_pixels(detector: HaarDetector, one_face: bytes) -> None:
    grey = decode(one_face, **LIMITS)
    large = cv2.resize(grey, None, fx=4, fy=4)
    [box] = detector.detect(large, 24)
    assert overlap(Box(box.x // 4, box.y // 4, box.width // 4, box.height // 4), HOPPER) > 0.8


def test_min_face_is_in_original_pixels(detector: HaarDetector, one_face: bytes) -> None:
    large = cv2.resize(decode(one_face, **LIMITS), None, fx=2, fy=2)
    assert detector.detect(large, 300)
    assert detector.detect(large, 600) == []


def test_boxes_stay_inside(detector: HaarDetector, one_face: bytes) -> None:
    grey = decode(one_face, **LIMITS)
    for margin in range(0, 60, 7):
        cut = grey[100 + margin // 3 : 330, 150 + margin // 3 : 390 - margin]
        for box in detector.detect(cut, 24):
            assert 0 <= box.x < box.x + box.width <= cut.shape[1]
            assert 0 <= box.y < box.y + box.height <= cut.shape[0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (23, 23), (24, 24), (30, 9000)])
def test_shapes_without_room_for_a_face(detector: HaarDetector, shape: tuple[int, int]) -> None:
    assert detector.detect(np.zeros(shape, np.uint8), 24) == []


def test_noise_has_no_face(detector: HaarDetector) -> None:
    assert detector.detect(np.random.default_rng(1).integers(0, 255, (400, 500), np.uint8), 24) == []


def test_many_threads_agree(detector: HaarDetector, one_face: bytes, two_faces: bytes) -> None:
    images = [decode(content, **LIMITS) for content in (one_face, two_faces)] * 8
    alone = [detector.detect(image, 24) for image in images[:2]] * 8
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda image: detector.detect(image, 24), images)) == alone


def test_merging_keeps_the_first_of_overlapping_boxes() -> None:
    face, shifted, eyes, other = (
        Box(0, 0, 100, 100),
        Box(10, 10, 100, 100),
        Box(20, 20, 40, 40),
        Box(100, 0, 90, 90),
    )
    assert merge_overlapping([face, shifted, eyes, other]) == [face, other]
    assert merge_overlapping([eyes, other, face]) == [eyes, other]
    assert merge_overlapping([]) == []


def test_neighbours_that_touch_are_two_faces() -> None:
    boxes = [Box(0, 0, 100, 100), Box(80, 0, 100, 100)]
    assert merge_overlapping(boxes) == boxes


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_rotated_phone_photo_gives_the_upright_box(
    detector: HaarDetector, one_face: bytes, encode: Callable[..., bytes], orientation: int
) -> None:
    upright: Grey = decode(one_face, **LIMITS)
    turns = {3: 2, 6: 1, 8: 3}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright, turns)))
    photo = decode(encode(stored, "PNG", exif=exif), **LIMITS)
    assert detector.detect(photo, 24) == detector.detect(upright, 24)
