import numpy as np
import pytest

from trainer.ensemble import weights as weighting
from trainer.networks.scores import mean, temper, to_numpy


def members(*sharpness: float, faces: int = 700, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Members who see the label through noise of their own; the sharper, the better."""
    rng = np.random.default_rng(seed)
    labels = np.arange(faces) % 7
    logits = np.stack([rng.normal(0, 1, (faces, 7)) + s * np.eye(7)[labels] for s in sharpness])
    powers = np.exp(logits)
    return powers / powers.sum(axis=2, keepdims=True), labels


def log_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(scores[np.arange(len(labels)), labels]).mean())


def voted(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return to_numpy(mean(scores, weights))


def test_a_hard_vote_goes_to_the_majority_however_unsure_it_is() -> None:
    scores = np.array([[[0.4, 0.3, 0.3]], [[0.4, 0.3, 0.3]], [[0.0, 1.0, 0.0]]])
    assert scores.mean(axis=0).argmax() == 1
    share = weighting.hard_vote(scores)
    assert share.argmax() == 0
    assert share.sum() == pytest.approx(1)


def test_the_mean_score_breaks_a_tied_vote() -> None:
    scores = np.array([[[0.1, 0.5, 0.4]], [[0.1, 0.1, 0.8]]])
    assert weighting.hard_vote(scores).argmax() == 2
    assert weighting.hard_vote(scores)[0, 0] > 0


def test_greedy_takes_turns_worked_by_hand() -> None:
    # The label is class 0. Alone, A (0.6 on both) beats B and C, each right about one face and wrong about the other.
    # A with B or with C is worse than A; A is chosen again and again.
    scores = np.array([[[0.6, 0.4]] * 2, [[0.9, 0.1], [0.1, 0.9]], [[0.1, 0.9], [0.9, 0.1]]])
    np.testing.assert_allclose(weighting.greedy(scores, np.array([0, 0])), [1, 0, 0])
    # A weaker A: B opens (the first of two equals), C completes it, and neither is better alone.
    scores[0] = [[0.2, 0.8]] * 2
    np.testing.assert_allclose(weighting.greedy(scores, np.array([0, 0])), [0, 0.5, 0.5])


def test_greedy_selects_with_replacement() -> None:
    scores, labels = members(1.5, 1.1)
    good, weak = weighting.greedy(scores, labels)
    assert good > 0.5 > weak > 0


def test_simplex_finds_the_mixture_that_no_neighbour_beats() -> None:
    scores, labels = members(1.5, 1.2, 1.0, 0.2)
    weights = weighting.simplex(scores, labels)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    best = log_loss(voted(scores, weights), labels)
    kept = np.flatnonzero(weights)
    for i in kept:
        for j in kept[kept != i]:
            moved = weights.copy()
            moved[i] -= 0.01
            moved[j] += 0.01
            assert log_loss(voted(scores, moved), labels) > best - 1e-5


def test_simplex_drops_a_member_that_knows_nothing_and_is_sure_of_it() -> None:
    scores, labels = members(2.0, 1.8)
    liar = np.roll(scores[0], 1, axis=1)
    weights = weighting.simplex(np.stack([*scores, liar]), labels)
    assert weights[2] == 0
    assert weights[0] > 0.2 < weights[1]


def test_weights_and_losses_agree_on_the_order_of_methods() -> None:
    scores, labels = members(1.5, 1.0, 0.3)
    losses = [
        log_loss(voted(scores, weights), labels)
        for weights in (
            weighting.simplex(scores, labels),
            weighting.greedy(scores, labels),
            weighting.uniform(scores, labels),
        )
    ]
    assert losses[0] <= losses[1] + 1e-4
    assert losses[1] < losses[2]


def test_a_label_scored_zero_by_everyone_is_survived() -> None:
    scores = np.tile(np.eye(7), (2, 1, 1))
    labels = (np.arange(7) + 1) % 7
    for weights in (weighting.simplex(scores, labels), weighting.greedy(scores, labels)):
        assert weights.sum() == pytest.approx(1)
    assert np.isfinite(weighting.fit_temperature(scores[0], labels))


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_spoilt_is_found_again(true_temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 7))
    calibrated = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (calibrated.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    spoilt = to_numpy(temper(calibrated, 1 / true_temperature))
    assert weighting.fit_temperature(spoilt, labels) == pytest.approx(true_temperature, rel=0.03)
