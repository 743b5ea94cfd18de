"""Formulas against SciPy, published values, and simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest, chi2_contingency

from api.reports import proportions
from api.reports.proportions import Proportion
from tests.api.reports.proportion_samples import clustered, independent


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 7), (650, 1000), (1, 1)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    ours = proportions.wilson(successes / n, n)
    scipys = binomtest(successes, n).proportion_ci(0.95, "wilson")
    assert (ours.low, ours.high) == pytest.approx((scipys.low, scipys.high), abs=1e-12)
    assert ours.low <= successes / n <= ours.high


@pytest.mark.parametrize(
    ("counts", "interval"),
    # Newcombe 1998, table II, method 10.
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((10, 10, 0, 10), (0.6075, 1.0)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
    ],
)
def test_newcombe_agrees_with_the_paper(counts: tuple[int, ...], interval: tuple[float, float]) -> None:
    a, m, b, n = counts
    ours = proportions.newcombe(a / m, m, b / n, n)
    assert (ours.low, ours.high) == pytest.approx(interval, abs=6e-5)


def test_two_proportion_p_agrees_with_scipy() -> None:
    ours = proportions.two_proportion_p(0.7, 100, 0.6, 300)
    assert ours == pytest.approx(chi2_contingency([[70, 30], [180, 120]], correction=False).pvalue)
    assert proportions.two_proportion_p(1.0, 5, 1.0, 9) == 1.0


def test_the_design_effect_of_known_cases() -> None:
    assert independent(30, 100).design_effect == 1
    # Every cluster of 4 says one thing four times.
    sizes = np.full(50, 4)
    one_thing = clustered(sizes, sizes * (np.arange(50) < 20))
    assert one_thing.design_effect == pytest.approx(4 * 50 / 49)
    # Where nothing varies or there is one cluster, the worst is assumed.
    assert clustered(sizes, sizes).design_effect == 4
    assert clustered(np.array([30]), np.array([20])).effective == 1
    # Clusters that differ less than chance would have it do not make the interval narrower.
    assert clustered(sizes, sizes // 2).design_effect == 1


def draw(generator: np.random.Generator, rate: float, subjects: int, spread: float) -> Proportion:
    """Subjects with 1 to 7 faces and an accuracy of their own around the rate."""
    sizes = generator.integers(1, 8, subjects)
    own = generator.beta(rate * spread, (1 - rate) * spread, subjects)
    return clustered(sizes, generator.binomial(sizes, own))


@pytest.mark.parametrize("spread", [0.5, 3.0, 1e6])
def test_intervals_cover_the_truth_however_subjects_differ(spread: float) -> None:
    generator = np.random.default_rng(2)
    rate_covered = difference_covered = alarms = 0
    runs = 1500
    for _ in range(runs):
        one, other = (draw(generator, rate, 250, spread) for rate in (0.72, 0.65))
        interval = proportions.wilson(one.rate, one.effective)
        rate_covered += interval.low <= 0.72 <= interval.high
        interval = proportions.newcombe(one.rate, one.effective, other.rate, other.effective)
        difference_covered += interval.low <= 0.07 <= interval.high
        same = draw(generator, 0.72, 250, spread)
        alarms += proportions.two_proportion_p(one.rate, one.effective, same.rate, same.effective) < 0.05
    # Four standard errors around 95 %; design effects below 1 are not used, so it may be a little more.
    assert 0.93 < rate_covered / runs < 0.975
    assert 0.93 < difference_covered / runs < 0.975
    assert alarms / runs < 0.07
