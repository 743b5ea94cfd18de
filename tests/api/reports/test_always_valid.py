"""Formulas against their definitions, and simulated looks."""

from math import exp

import numpy as np
import pytest
from scipy.stats import binom, norm

from api.reports import always_valid, proportions
from api.reports.proportions import Proportion
from tests.api.reports.proportion_samples import clustered, independent


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
    n = int(always_valid.sample_size(0.65, 0.05, ratio=1, power=0.8, alpha=0.05))
    # One planned look needs 1,377 (Fleiss, Levin & Paik 2003, chapter 4). The rest is the price of looking at any time.
    assert 1.2 < n / 1377 < 2.5
    generator = np.random.default_rng(4)
    found = [
        rejected([(independent(int(a), n), independent(int(b), n))])
        for a, b in zip(generator.binomial(n, 0.70, 2000), generator.binomial(n, 0.65, 2000), strict=True)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


def test_the_split_test_of_known_cases() -> None:
    # One variant that loses 5 % of 20,000 subjects, exactly.
    assert always_valid.split_p([10_000, 9_500], [0.5, 0.5]) < 0.02
    assert always_valid.split_p([5000, 5000], [0.5, 0.5]) == 1
    assert always_valid.split_p([5000, 4000], [0.5, 0.5]) < 1e-12
    # In any unit, and with a variant that nobody is to get.
    in_buckets = always_valid.split_p([900, 120, 0], [9000, 1000, 0])
    assert in_buckets == pytest.approx(always_valid.split_p([900, 120], [0.9, 0.1]))
    assert always_valid.split_p([900, 100, 1], [9, 1, 0]) == 0
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
