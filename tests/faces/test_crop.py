import cv2
import numpy as np
import pytest

from faces.crop import crop_faces, cut, window
from faces.decode import Grey
from faces.geometry import Square


def test_range_and_shape() -> None:
    image = np.zeros((100, 200), np.uint8)
    image[:, 100:] = 255
    faces = crop_faces(image, [Square(45, 50, 90), Square(140, 40, 60), Square(100, 50, 90)])
    assert faces.dtype == np.float32
    assert faces.shape == (3, 48, 48, 1)
    assert (faces[0] == -1).all()
    assert (faces[1] == 1).all()
    assert faces[2].mean() == pytest.approx(0, abs=0.05)


def test_a_face_of_48_pixels_is_kept_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8)
    [face] = crop_faces(image, [Square(29, 31, 48)])
    np.testing.assert_allclose(face[:, :, 0], image[7:55, 5:53] / 127.5 - 1, atol=1e-6)


def test_shrinking_averages_every_pixel() -> None:
    # A fine chequerboard: anything that skips pixels sees black or white, the average is grey.
    board = (np.indices((480, 480)).sum(0) % 2 * 255).astype(np.uint8)
    [face] = crop_faces(board, [Square(240, 240, 480)])
    assert np.abs(face).max() < 0.02


@pytest.mark.parametrize("corners", [(0, 0, 1, 1), (3, 4, 8, 94), (0, 0, 100, 7), (5, 5, 5, 5)])
def test_small_and_narrow_windows_grow(corners: tuple[float, float, float, float]) -> None:
    assert (window(np.full((100, 100), 128, np.uint8), *corners, 48) == 128).all()


def test_no_square() -> None:
    assert crop_faces(np.zeros((5, 5), np.uint8), []).shape == (0, 48, 48, 1)


def test_beyond_the_picture_its_edge_goes_on() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
    wide = cv2.copyMakeBorder(image, 40, 40, 40, 40, cv2.BORDER_REPLICATE)
    for x, y in ((0, 0), (80, 60), (5, 58), (79, 3), (40, 30)):
        piece = cut(image, Square(x, y, 48), 48)
        np.testing.assert_array_equal(piece, wide[y + 16 : y + 64, x + 16 : x + 64])


@pytest.mark.parametrize(("x", "y"), [(-300, 30), (500, 30), (40, -300), (40, 500), (-300, -300), (500, 500)])
def test_a_square_wholly_outside_shows_the_nearest_edge(x: int, y: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
    piece = cut(image, Square(x, y, 48), 48)
    corner = image[min(max(y, 0), 59), min(max(x, 0), 79)]
    assert piece.shape == (48, 48)
    assert corner in piece


@pytest.mark.parametrize("side", [30, 48, 130, 700])
def test_a_turned_square_shows_what_an_upright_one_shows_of_the_turned_picture(side: int) -> None:
    y, x = np.mgrid[:900, :900]
    image = (127 + 60 * np.sin(x / side * 9) + 60 * np.cos(y / side * 7)).astype(np.uint8)
    centre = (450.0, 450.0)
    turned: Grey = cv2.warpAffine(image, cv2.getRotationMatrix2D(centre, -30, 1), (900, 900))  # type: ignore[assignment]
    expected = cut(image, Square(*centre, side), 48).astype(float)
    actual = cut(turned, Square(*centre, side, roll=30), 48).astype(float)
    assert np.abs(actual - expected).mean() < 8
