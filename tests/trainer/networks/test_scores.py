"""From logits to scores, on arrays."""

import numpy as np
import pytest

from trainer.networks.scores import FLIPPED, PLAIN, VIEWS, apart, mean, over_views, show, softmax, temper, to_numpy


def random_scores(faces: int) -> np.ndarray:
    return softmax(np.random.default_rng(0).normal(0, 2, (faces, 7)))


def test_several_networks_are_averaged_by_weight() -> None:
    scores = np.array([[[1, 0], [0.5, 0.5]], [[0.2, 0.8], [0, 1]]])
    np.testing.assert_allclose(to_numpy(mean(scores, np.array([0.25, 0.75]))), [[0.4, 0.6], [0.125, 0.875]])


def test_a_temperature_divides_the_logits() -> None:
    logits = np.array([[4.0, 1.0, -2.0], [0.0, 0.0, 9.0]], np.float32)
    np.testing.assert_allclose(to_numpy(temper(softmax(logits), 3)), softmax(logits / np.float32(3)), rtol=1e-4)
    assert np.isfinite(to_numpy(temper(np.eye(3, dtype=np.float32), 2))).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_is_undone_by_its_inverse(temperature: float) -> None:
    scores = random_scores(100)
    spoilt = to_numpy(temper(scores, 1 / temperature))
    np.testing.assert_allclose(to_numpy(temper(spoilt, temperature)), scores, atol=1e-9)


def test_a_temperature_moves_no_top_class() -> None:
    scores = random_scores(700)
    for temperature in (0.3, 4.0):
        tempered = to_numpy(temper(scores, temperature))
        np.testing.assert_array_equal(tempered.argmax(axis=1), scores.argmax(axis=1))
        np.testing.assert_allclose(tempered.sum(axis=1), 1)


def test_views_are_shown_one_after_the_other_and_laid_back() -> None:
    faces = np.random.default_rng(1).normal(size=(3, 48, 48, 1)).astype(np.float32)
    shown = to_numpy(apart(show(faces, FLIPPED), FLIPPED))
    np.testing.assert_array_equal(shown, [faces, faces[:, :, ::-1]])
    for view, seen in zip(FLIPPED, shown, strict=True):
        np.testing.assert_array_equal(to_numpy(VIEWS[view].restore(seen[..., 0])), faces[..., 0])


def test_a_finished_model_is_asked_about_each_view() -> None:
    # It looks at the left half alone.
    def score(faces: np.ndarray) -> np.ndarray:
        return faces[:, :, :24].mean(axis=(1, 2))

    # More of them than it is given at once.
    images = np.zeros((1030, 48, 48), np.uint8)
    images[1029, :, :24] = 255
    plain, both = over_views(score, images, PLAIN), over_views(score, images, FLIPPED)
    assert plain.shape == both.shape == (1030, 1)
    np.testing.assert_allclose(plain[1028:], [[-1], [1]])
    np.testing.assert_allclose(both[1028:], [[-1], [0]])


def test_softmax_neither_overflows_nor_drops_the_order() -> None:
    logits = np.array([[1e4, 0, -1e4], [1, 2, 3]], np.float32)
    scores = softmax(logits)
    assert scores.dtype == np.float32
    assert scores[0, 0] == 1
    np.testing.assert_allclose(scores[1], np.exp(logits[1]) / np.exp(logits[1]).sum(), rtol=1e-6)
    warm = np.exp(logits[1] / 2)
    np.testing.assert_allclose(softmax(logits, 2.0)[1], warm / warm.sum(), rtol=1e-6)
