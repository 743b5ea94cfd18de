import numpy as np
import pytest

from trainer.evaluate import score, softmax


def test_metrics_of_a_case_worked_by_hand() -> None:
    # Labels 0 0 1 1; the third face of class 1 is taken for 0.
    scores = np.full((4, 7), 0.05, np.float32)
    scores[[0, 1, 2, 3], [0, 0, 0, 1]] = 0.7
    metrics = score(scores, np.array([0, 0, 1, 1], np.uint8))
    assert metrics.accuracy == 0.75
    assert metrics.precision["angry"] == pytest.approx(2 / 3)
    assert metrics.recall["angry"] == 1
    assert metrics.precision["disgust"] == 1
    assert metrics.recall["disgust"] == 0.5
    assert metrics.recall["neutral"] == 0
    assert metrics.macro_f1 == pytest.approx((0.8 + 2 / 3) / 7)
    assert metrics.log_loss == pytest.approx(-(3 * np.log(0.7) + np.log(0.05)) / 4)
    assert metrics.confusion[1][:2] == [1, 1]


def test_softmax_neither_overflows_nor_drops_the_order() -> None:
    scores = softmax(np.array([[1e4, 0, -1e4], [1, 2, 3]], np.float32))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
    assert scores[0, 0] == 1
    assert scores[1].argmax() == 2


def test_a_score_of_zero_for_the_label_is_finite() -> None:
    scores = np.eye(7, dtype=np.float32)[:1]
    assert np.isfinite(score(scores, np.array([1], np.uint8)).log_loss)
