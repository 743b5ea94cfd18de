import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from api.experiments.shadow import compare, jensen_shannon
from api.model.client import Scores


def rows(seed: int, count: int = 50) -> np.ndarray:
    # A small concentration makes probabilities near 0 and 1.
    return np.random.default_rng(seed).dirichlet([0.2] * 7, count).astype(np.float32)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_is_the_square_of_scipys_distance(seed: int) -> None:
    p, q = rows(seed), rows(seed + 1)
    expected = [jensenshannon(one, other, base=2) ** 2 for one, other in zip(p, q, strict=True)]
    np.testing.assert_allclose(jensen_shannon(p, q), expected, atol=1e-5)
    np.testing.assert_allclose(jensen_shannon(p, q), jensen_shannon(q, p), atol=1e-12)


def test_its_ends() -> None:
    one, other = np.eye(7, dtype=np.float32)[[0, 1]], np.eye(7, dtype=np.float32)[[0, 2]]
    assert jensen_shannon(one, other).tolist() == [0, 1]


def scores(classes: list[str], probabilities: np.ndarray) -> Scores:
    return Scores(1, tuple(classes), probabilities, probabilities.argmax(axis=1), None, 0.0)


def test_classes_in_another_order_are_the_same_answer() -> None:
    p = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]], np.float32)
    answer = scores(["a", "b", "c"], p)
    assert compare(answer, scores(["c", "a", "b"], p[:, [2, 0, 1]])) == (2, 0)
    agreeing, divergence = compare(answer, scores(["a", "b", "c"], p[::-1]))
    assert agreeing == 0
    assert divergence == pytest.approx(2 * jensenshannon(p[0], p[1], base=2) ** 2, abs=1e-6)


def test_other_classes_cannot_be_compared() -> None:
    p = np.array([[0.4, 0.6]], np.float32)
    with pytest.raises(ValueError, match="classes a, c are not the classes a, b"):
        compare(scores(["a", "b"], p), scores(["a", "c"], p))
