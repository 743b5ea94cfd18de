import numpy as np
import pytest

from faces.crop import crop_faces
from faces.detect import Box


def test_range_and_shape() -> None:
    image = np.zeros((100, 200), np.uint8)
    image[:, 100:] = 255
    faces = crop_faces(image, [Box(0, 0, 90, 100), Box(110, 10, 60, 60), Box(0, 0, 200, 100)])
    assert faces.dtype == np.float32
    assert faces.shape == (3, 48, 48, 1)
    assert (faces[0] == -1).all()
    assert (faces[1] == 1).all()
    assert faces[2].mean() == pytest.approx(0, abs=0.01)


def test_a_face_of_48_pixels_is_kept_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8)
    [face] = crop_faces(image, [Box(5, 7, 48, 48)])
    np.testing.assert_allclose(face[:, :, 0], image[7:55, 5:53] / 127.5 - 1, atol=1e-6)


def test_shrinking_averages_every_pixel() -> None:
    # A fine chequerboard: anything that skips pixels sees black or white, the average is grey.
    board = (np.indices((480, 480)).sum(0) % 2 * 255).astype(np.uint8)
    [face] = crop_faces(board, [Box(0, 0, 480, 480)])
    assert np.abs(face).max() < 0.02


@pytest.mark.parametrize("box", [Box(0, 0, 1, 1), Box(3, 4, 5, 90), Box(0, 0, 100, 7)])
def test_small_and_narrow_boxes_grow(box: Box) -> None:
    image = np.full((100, 100), 128, np.uint8)
    np.testing.assert_allclose(crop_faces(image, [box]), 128 / 127.5 - 1, atol=1e-6)


def test_no_box() -> None:
    assert crop_faces(np.zeros((5, 5), np.uint8), []).shape == (0, 48, 48, 1)
