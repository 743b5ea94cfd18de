"""Formulas against SciPy, published values, and simulation."""

from math import exp

import numpy as np
import pytest
from scipy.stats import binom, binomtest, chi2_contingency, norm, ttest_ind

from api.reports import always_valid, proportions
from api.reports.proportions import Activity, Proportion


def independent(successes: int, n: int) -> Proportion:
    return Proportion(n, successes, n, n, successes, successes)


def clustered(sizes: np.ndarray, successes: np.ndarray) -> Proportion:
    sums = (sizes.sum(), successes.sum(), len(sizes), (sizes**2).sum(), (successes**2).sum(), (sizes * successes).sum())
    return Proportion(*map(int, sums))


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


def test_sample_size_gives_the_power_that_was_asked_for() -> None:
    # The textbook case: 60 % against 70 %, power 0.8.
    assert proportions.sample_size(0.6, 0.1, ratio=1, power=0.8) == (356, 356)
    treated, control = proportions.sample_size(0.65, -0.03, ratio=9, power=0.9)
    assert control == pytest.approx(9 * treated, abs=9)
    generator = np.random.default_rng(1)
    rates = generator.binomial(treated, 0.62, 2000) / treated, generator.binomial(control, 0.65, 2000) / control
    found = [proportions.two_proportion_p(a, treated, b, control) < 0.05 for a, b in zip(*rates, strict=True)]
    assert np.mean(found) == pytest.approx(0.9, abs=0.025)
    with pytest.raises(ValueError, match=r"0\.990 cannot change by \+0\.020"):
        proportions.sample_size(0.99, 0.02, ratio=1, power=0.8)


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


def test_the_confidence_sequence_is_where_the_p_value_passes_alpha() -> None:
    for variance in (1e-5, 1e-4, 1e-3):
        edge = always_valid.boundary(variance, 0.05)
        assert always_valid.msprt_p(edge, variance) == pytest.approx(0.05)
        assert always_valid.msprt_p(edge * 1.01, variance) < 0.05
        interval = always_valid.confidence_sequence(0.1, variance, 0.05)
        assert (interval.low, interval.high) == pytest.approx((0.1 - edge, min(1, 0.1 + edge)))
    assert always_valid.msprt_p(0.0, 1e-4) == 1


def test_the_mixture_is_the_integral_that_it_stands_for() -> None:
    difference, variance = 0.04, 2e-4
    effects = np.linspace(-0.4, 0.4, 200_001)
    likelihood = norm.pdf(difference, effects, variance**0.5)
    prior = norm.pdf(effects, 0, always_valid.PRIOR_SD)
    ratio = np.trapezoid(likelihood * prior, effects) / norm.pdf(difference, 0, variance**0.5)
    assert always_valid.msprt_p(difference, variance) == pytest.approx(1 / ratio)


def daily(
    generator: np.random.Generator, rates: tuple[float, float], spread: float, days: int = 30
) -> list[tuple[Proportion, Proportion]]:
    """Each day's cumulated data: a third of each day's subjects are new, all others have been here before."""
    looks = []
    sides = []
    for rate in rates:
        own = generator.beta(rate * spread, (1 - rate) * spread, 100 + 30 * days)
        sides.append((own, np.zeros(len(own), int), np.zeros(len(own), int)))
    for day in range(days):
        look = []
        for own, sizes, successes in sides:
            known = 100 + 30 * day
            who = generator.integers(max(0, known - 30), known, 40), generator.integers(0, known, 80)
            for someone in np.concatenate(who):
                sizes[someone] += 1
                successes[someone] += generator.random() < own[someone]
            seen = sizes > 0
            look.append(clustered(sizes[seen], successes[seen]))
        looks.append((look[0], look[1]))
    return looks


def rejected(looks: list[tuple[Proportion, Proportion]]) -> bool:
    return any(
        always_valid.msprt_p(a.rate - b.rate, always_valid.variance_of_difference(a, b)) < 0.05
        for a, b in looks
        if min(a.effective, b.effective) >= always_valid.LEAST_EFFECTIVE
    )


@pytest.mark.parametrize("spread", [1.0, 1e6])
def test_daily_looks_raise_no_more_false_alarms_than_promised(spread: float) -> None:
    generator = np.random.default_rng(3)
    runs = 200
    experiments = [daily(generator, (0.65, 0.65), spread) for _ in range(runs)]
    assert np.mean([rejected(looks) for looks in experiments]) <= 0.05
    naive = [
        any(proportions.two_proportion_p(a.rate, a.effective, b.rate, b.effective) < 0.05 for a, b in looks)
        for looks in experiments
    ]
    # What the sequential test is for.
    assert np.mean(naive) > 0.1


def test_a_real_difference_is_found_by_the_sample_size_that_was_said() -> None:
    n = int(always_valid.sequential_sample_size(0.65, 0.05, ratio=1, power=0.8, alpha=0.05))
    fixed, _ = proportions.sample_size(0.65, 0.05, ratio=1, power=0.8)
    # The price of looking at any time.
    assert 1.2 < n / fixed < 2.5
    generator = np.random.default_rng(4)
    found = [
        rejected([(independent(int(a), n), independent(int(b), n))])
        for a, b in zip(generator.binomial(n, 0.70, 2000), generator.binomial(n, 0.65, 2000), strict=True)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


def test_the_split_test_of_known_cases() -> None:
    assert always_valid.chi_square_p([5000, 5000], [1, 1]) == 1
    assert always_valid.chi_square_p([10_000, 9_500], [1, 1]) == pytest.approx(exp(-7.9), rel=0.1)
    assert always_valid.chi_square_p([10, 10], [1, 1]) == 1
    for few in ([9, 9], [0, 0], [990, 9]):
        assert always_valid.chi_square_p(few, few if all(few) else [1, 1]) is None
    assert always_valid.chi_square_p([50], [1]) is None
    # One variant that loses 5 % of 20,000 subjects, exactly.
    assert always_valid.split_p([10_000, 9_500], [0.5, 0.5]) < 0.02
    assert always_valid.split_p([5000, 5000], [0.5, 0.5]) == 1
    assert always_valid.split_p([5000, 4000], [0.5, 0.5]) < 1e-12
    for test in (always_valid.chi_square_p, always_valid.split_p):
        # In any unit, and with a variant that nobody is to get.
        assert test([900, 120, 0], [9000, 1000, 0]) == pytest.approx(test([900, 120], [0.9, 0.1]))
        assert test([900, 100, 1], [9, 1, 0]) == 0
    assert always_valid.split_p([0, 0], [1, 1]) == 1
    assert always_valid.split_p([5], [10_000]) == 1


def test_the_split_test_is_a_mixture_of_likelihoods() -> None:
    # Of all sequences of 12 units together the mixture has probability 1, which is what makes it a martingale.
    shares = np.array([0.7, 0.3])
    total = sum(
        binom.pmf(n, 12, 0.7) * exp(always_valid.split_log_ratio(np.array([n, 12.0 - n]), shares)) for n in range(13)
    )
    assert total == pytest.approx(1)


def test_requests_lost_from_one_variant_alone() -> None:
    assert always_valid.lost_p([0, 0], [10_000, 10_000]) == 1
    assert always_valid.lost_p([100, 100], [10_000, 10_000]) == 1
    assert always_valid.lost_p([90, 10], [9000, 1000]) == 1
    # 5 % of one of them; a twentieth of that, with failures on both sides.
    assert always_valid.lost_p([0, 500], [10_000, 10_000]) < 1e-100
    assert always_valid.lost_p([50, 125], [10_000, 10_000]) < 1e-5
    assert always_valid.lost_p([10, 0], [1, 0]) == 1
    generator = np.random.default_rng(7)
    days = generator.multinomial(20, [0.9, 0.1], (500, 30)).cumsum(axis=1)
    alarms = [any(always_valid.lost_p(day, [9000, 1000]) <= 0.05 for day in run) for run in days]
    assert np.mean(alarms) <= 0.05


def test_activity_p_is_welchs_and_holds_its_level() -> None:
    generator = np.random.default_rng(6)

    def activity(requests: np.ndarray) -> Activity:
        return Activity(len(requests), int(requests.sum()), int((requests**2).sum()))

    one, other = 1 + generator.poisson(3, 4000), 1 + generator.poisson(3.2, 5000)
    ours = proportions.activity_p([activity(one), activity(other)])
    assert ours == pytest.approx(ttest_ind(one, other, equal_var=False).pvalue, rel=0.05)
    once = activity(np.ones(500, int))
    assert proportions.activity_p([once, once]) == 1
    assert proportions.activity_p([activity(one), activity(other[:99])]) == 1
    alarms = [
        proportions.activity_p([activity(generator.geometric(0.3, 300)) for _ in range(3)]) < 0.05 for _ in range(1000)
    ]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.03)


def test_the_split_test_under_daily_looks() -> None:
    generator = np.random.default_rng(5)

    def alarmed(lost: float, runs: int, days: int = 20) -> float:
        daily = generator.binomial(generator.multinomial(1000, [0.5, 0.5], (runs, days)), [1, 1 - lost])
        return float(
            np.mean([any(always_valid.split_p(day, [1, 1]) <= 0.05 for day in run) for run in daily.cumsum(axis=1)])
        )

    assert alarmed(0, 500, days=60) <= 0.05
    # Of 20,000 subjects one variant loses a twentieth or a tenth of its own.
    assert alarmed(0.05, 400) > 0.8
    assert alarmed(0.1, 100) > 0.98
