import numpy as np
import pytest

from trainer.data.split import Split
from trainer.training.augment import AugmentConfig, augment, mix, shrink

STILL = {"flip": 0, "rotation": 0, "zoom": 0, "shift": 0, "contrast": 0, "brightness": 0, "erase": 0}


def run(split: Split, **changes: float) -> np.ndarray:
    return augment(split.images, AugmentConfig(**{**STILL, **changes}), np.random.default_rng(0))


def test_nothing_allowed_is_the_identity(training: Split) -> None:
    np.testing.assert_array_equal(run(training), training.images)


def test_a_flip_is_an_exact_mirror(training: Split) -> None:
    np.testing.assert_array_equal(run(training, flip=1), training.images[:, :, ::-1])


def test_half_of_the_faces_are_flipped(training: Split) -> None:
    flipped = (run(training, flip=0.5) != training.images).any(axis=(1, 2)).mean()
    assert 0.4 < flipped < 0.6


def test_brightness_moves_all_pixels_alike() -> None:
    grey = Split(np.full((50, 48, 48), 128, np.uint8), np.zeros(50, np.uint8))
    out = run(grey, brightness=20).astype(int)
    assert (out == out[:, :1, :1]).all()
    assert np.abs(out - 128).max() in range(15, 22)


def test_contrast_keeps_mid_grey_and_never_wraps_around() -> None:
    black_and_white = np.zeros((50, 48, 48), np.uint8)
    black_and_white[:, 24:] = 255
    out = run(Split(black_and_white, np.zeros(50, np.uint8)), contrast=0.9)
    assert out[:, :24].max() < 127 < out[:, 24:].min()


def test_shrunk_pixels_are_means_of_what_they_cover(training: Split) -> None:
    assert shrink(training.images, 48) is training.images
    expected = training.images[:9].reshape(9, 16, 3, 16, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(shrink(training.images[:9], 16), expected, atol=0.51)


@pytest.mark.parametrize("change", ["rotation", "zoom", "shift"])
def test_a_warp_moves_the_blob_but_not_far(training: Split, change: str) -> None:
    moved = run(training, **{change: {"rotation": 20, "zoom": 0.2, "shift": 5}[change]})
    distances = np.hypot(*(np.array(centroid(moved)) - np.array(centroid(training.images))))
    assert distances.max() > 1
    assert distances.max() < 9


def centroid(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bright = np.where(images > 100, images, 0).astype(float)
    rows, columns = np.mgrid[:48, :48]
    mass = bright.sum(axis=(1, 2))
    return (bright * rows).sum(axis=(1, 2)) / mass, (bright * columns).sum(axis=(1, 2)) / mass


def test_erasing_replaces_one_rectangle_of_at_most_a_fifth(training: Split) -> None:
    changed = run(training, erase=1) != training.images
    assert changed.any(axis=(1, 2)).all()
    assert changed.mean(axis=(1, 2)).max() <= 0.22


def test_the_same_draw_gives_the_same_view_and_leaves_the_input(training: Split) -> None:
    before = training.images.copy()
    config = AugmentConfig()
    first = augment(training.images, config, np.random.default_rng(5))
    np.testing.assert_array_equal(first, augment(training.images, config, np.random.default_rng(5)))
    assert (first != augment(training.images, config, np.random.default_rng(6))).any()
    np.testing.assert_array_equal(training.images, before)


def test_a_rotation_turns_about_the_centre_and_keeps_its_angle() -> None:
    image = np.zeros((1, 48, 48), np.uint8)
    image[0, 22:26, 38:42] = 255
    angles = []
    for seed in range(200):
        out = augment(image, AugmentConfig(**{**STILL, "rotation": 30}), np.random.default_rng(seed))
        row, column = centroid(out)
        angles.append(np.rad2deg(np.arctan2(row[0] - 23.5, column[0] - 23.5)))
        assert np.hypot(row[0] - 23.5, column[0] - 23.5) == pytest.approx(16, abs=0.5)
    assert 25 < max(angles) < 31
    assert -31 < min(angles) < -25


def test_mixup_blends_faces_and_targets_by_the_same_share() -> None:
    values = np.arange(32, dtype=np.float32)
    faces = np.broadcast_to(values[:, None, None, None], (32, 48, 48, 1))
    targets = np.eye(32, dtype=np.float32)
    mixed, blended = mix(faces, targets, 0.4, np.random.default_rng(0))
    np.testing.assert_allclose(blended.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed[:, 0, 0, 0], blended @ values, rtol=1e-5)
    assert ((blended > 0).sum(axis=1) == 2).mean() > 0.9
    assert 0.3 < blended.diagonal().mean() < 0.7


DISTURBANCES = ("blur", "resample", "jpeg", "gamma", "dim", "noise")


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_a_disturbance_changes_its_share_of_the_faces_and_moves_none(training: Split, kind: str) -> None:
    out = run(training, **{kind: 0.4})
    changed = (out != training.images).any(axis=(1, 2))
    assert 0.3 < changed.mean() < 0.5
    np.testing.assert_allclose(centroid(blob(out)), centroid(blob(training.images)), atol=1.5)


def blob(images: np.ndarray) -> np.ndarray:
    """The brightest pixels, whatever the exposure, as `centroid` wants them."""
    return np.where(images > 0.6 * images.max(axis=(1, 2), keepdims=True), 200, 0)


def test_disturbances_do_what_they_are_called_after(training: Split) -> None:
    def detail(images: np.ndarray) -> np.ndarray:
        return np.abs(np.diff(images.astype(float), axis=2)).mean(axis=(1, 2))

    assert (detail(run(training, blur=1)) < detail(training.images)).all()
    assert (detail(run(training, resample=1)) < 0.7 * detail(training.images)).all()
    assert (detail(run(training, noise=1)) > detail(training.images)).all()
    dimmed = run(training, dim=1).mean(axis=(1, 2)) / training.images.mean(axis=(1, 2))
    assert 0.15 < dimmed.min() < 0.3
    assert 0.7 < dimmed.max() < 0.81
    curved = run(training, gamma=1).astype(int)
    assert (curved.mean(axis=(1, 2)) > training.images.mean(axis=(1, 2))).mean() == pytest.approx(0.5, abs=0.1)


def test_tilted_faces_lean_further_than_the_others() -> None:
    image = np.zeros((400, 48, 48), np.uint8)
    image[:, 22:26, 38:42] = 255
    row, column = centroid(augment(image, AugmentConfig(**{**STILL, "tilt": 0.5}), np.random.default_rng(0)))
    angles = np.abs(np.rad2deg(np.arctan2(row - 23.5, column - 23.5)))
    assert (angles < 1).mean() == pytest.approx(0.5, abs=0.08)
    assert 55 < angles.max() < 61


def test_a_misfit_frame_moves_and_scales_further_than_the_others(training: Split) -> None:
    still = run(training, frame=0.5)
    assert (still == training.images).all(axis=(1, 2)).mean() == pytest.approx(0.5, abs=0.1)
