import numpy as np
import pytest

from trainer.evaluation.metrics import accuracy_interval, mcnemar, reliability, score


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


def test_a_score_of_zero_for_the_label_is_finite() -> None:
    scores = np.eye(7, dtype=np.float32)[:1]
    assert np.isfinite(score(scores, np.array([1], np.uint8)).log_loss)


def test_f1_and_support_of_a_case_worked_by_hand() -> None:
    scores = np.eye(7, dtype=np.float32)[[0, 0, 0, 1]]
    metrics = score(scores, np.array([0, 0, 1, 1], np.uint8))
    assert metrics.f1["angry"] == pytest.approx(0.8)
    assert metrics.f1["disgust"] == pytest.approx(2 / 3)
    assert metrics.f1["fear"] == 0
    assert np.mean(list(metrics.f1.values())) == pytest.approx(metrics.macro_f1)
    assert metrics.support == {**dict.fromkeys(metrics.recall, 0), "angry": 2, "disgust": 2}


def test_the_accuracy_interval_is_what_drawing_faces_gives() -> None:
    correct = np.arange(200) < 140
    rng = np.random.default_rng(1)
    drawn = correct[rng.integers(0, 200, (4000, 200))].mean(axis=1)
    low, high = accuracy_interval(correct)
    assert [low, high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.0076)
    assert accuracy_interval(correct) == (low, high)
    assert accuracy_interval(np.ones(5, bool)) == (1, 1)


def test_calibration_error_of_a_case_worked_by_hand() -> None:
    # Confidences .7 (right, wrong) and .9 (right): accuracy .5 and 1, off by .2 and .1.
    found = reliability(np.array([[0.7, 0.3], [0.3, 0.7], [0.9, 0.1]], np.float32), np.array([0, 0, 0]), bins=5)
    assert found.count.tolist() == [0, 0, 0, 2, 1]
    assert found.accuracy.tolist() == [0, 0, 0, 0.5, 1]
    assert found.confidence == pytest.approx([0, 0, 0, 0.7, 0.9])
    assert found.ece == pytest.approx((2 * 0.2 + 1 * 0.1) / 3)


def test_a_bin_holds_its_upper_edge_and_the_last_one_holds_one() -> None:
    scores = np.array([[0.5, 0.5], [1, 0], [1.0000001, 0]], np.float32)
    bins = reliability(scores, np.array([0, 0, 0]), bins=2)
    assert bins.count.tolist() == [1, 2]


def paired(only_a: int, only_b: int, both: int = 0, neither: int = 0) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([True, False, True, False], [only_a, only_b, both, neither])
    b = np.repeat([False, True, True, False], [only_a, only_b, both, neither])
    return a, b


def test_mcnemar_of_a_case_worked_by_hand() -> None:
    found = mcnemar(*paired(10, 2, both=70, neither=18))
    # Twice the chance of 0, 1 or 2 heads in 12 throws: (1 + 12 + 66) / 4096.
    assert found.p_value == pytest.approx(2 * 79 / 4096)
    assert (found.only_a, found.only_b, found.difference) == (10, 2, 0.08)


def test_equal_disagreement_is_no_evidence() -> None:
    for disagreements in (0, 4):
        found = mcnemar(*paired(disagreements, disagreements, both=5, neither=5))
        assert found.p_value == pytest.approx(1)
        assert found.difference == 0


def test_the_difference_is_resampled_in_pairs() -> None:
    a, b = paired(30, 10, both=120, neither=40)
    index = np.random.default_rng(1).integers(0, 200, (4000, 200))
    drawn = a[index].mean(axis=1) - b[index].mean(axis=1)
    found, swapped = mcnemar(a, b), mcnemar(b, a)
    assert found.interval == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.0076)
    assert swapped.interval == pytest.approx((-found.interval[1], -found.interval[0]), abs=0.0076)
    assert swapped.p_value == found.p_value
