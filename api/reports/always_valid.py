"""Tests that stay valid however often one looks, and may stop the moment they say so.

Their p-values fall below alpha in at most alpha of the experiments without a difference, over all looks together.
Formulas and sources: docs/experiments.md.
"""

from collections.abc import Sequence
from math import exp, lgamma, log, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from api.reports.proportions import Interval, Proportion

# Standard deviation of the normal prior on the difference of two accuracies: the test is sharpest for differences of
# this size, and valid with any, as long as it was chosen before the data.
PRIOR_SD = 0.03

# The normal approximation of msprt_p() needs so many effective observations on each side.
LEAST_EFFECTIVE = 100

# split_p() looks for one variant that loses this part of its units, with this weight, and for anything else with the
# rest; the weight of the prior for anything else, in observations, makes it sharpest after some tens of thousands.
LOSS, LOSS_WEIGHT = 0.05, 0.8
PRIOR_OBSERVATIONS = 1000

# Of lost requests there are few, and those of one variant alone are far from the shares: a wide prior.
PRIOR_LOST = 10


def variance_of_difference(one: Proportion, other: Proportion) -> float:
    """Of the difference of two rates, with one success and one failure added to each so that it is never 0."""
    variance = 0.0
    for side in (one, other):
        n = side.effective
        rate = (side.rate * n + 1) / (n + 2)
        variance += rate * (1 - rate) / n
    return variance


def msprt_p(difference: float, variance: float) -> float:
    """P-value of no difference, by the mixture sequential probability ratio test (Johari, Pekelis & Walsh 2022).

    Args:
        difference: As observed.
        variance: Of the difference.
    """
    prior = PRIOR_SD**2
    log_ratio = 0.5 * log(variance / (variance + prior)) + prior * difference**2 / (2 * variance * (variance + prior))
    return exp(-max(0.0, log_ratio))


def confidence_sequence(difference: float, variance: float, alpha: float) -> Interval:
    """The differences that msprt_p() does not reject: covers the truth at all looks at once with 1 - alpha."""
    half = boundary(variance, alpha)
    return Interval(max(-1.0, difference - half), min(1.0, difference + half))


def boundary(variance: float, alpha: float) -> float:
    """The smallest difference that msprt_p() rejects at alpha."""
    prior = PRIOR_SD**2
    return sqrt(variance * (variance + prior) / prior * (2 * log(1 / alpha) + log((variance + prior) / variance)))


def sample_size(control: float, effect: float, *, ratio: float, power: float, alpha: float) -> float:
    """Independent observations of the treatment by which msprt_p() has found the effect with that power.

    Args:
        control: The control's rate. control + effect must be a rate, too.
        effect: The difference to find, of either sign.
        ratio: The control's observations for each of the treatment's.
    """
    treated = control + effect
    quantile = NormalDist().inv_cdf(power)
    # What is needed to be found grows with the variance: bisection, to the last digits of a float.
    low, high = log(1e-14), 0.0
    for _ in range(60):
        variance = exp((low + high) / 2)
        if boundary(variance, alpha) + quantile * sqrt(variance) < abs(effect):
            low = log(variance)
        else:
            high = log(variance)
    return (treated * (1 - treated) + control * (1 - control) / ratio) / variance


def split_p(counts: Sequence[int], weights: Sequence[float]) -> float:
    """P-value of "units fall to the variants by these weights". 0 when a variant of weight 0 has units.

    A mixture of one variant that loses LOSS of its units, and of any other shares (Lindon & Malek 2022).
    """
    if any(count for count, weight in zip(counts, weights, strict=True) if weight == 0):
        return 0.0
    return exp(-max(0.0, split_log_ratio(*_possible(counts, weights))))


def split_log_ratio(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Log of split_p()'s likelihood ratio.

    Args:
        observed: Units of each variant.
        expected: Their shares, which are positive and add up to 1.
    """
    losses = observed * log(1 - LOSS) - observed.sum() * np.log(1 - LOSS * expected)
    one_loses = np.logaddexp.reduce(losses) - log(len(losses))
    anything = _dirichlet(observed, expected, PRIOR_OBSERVATIONS)
    return float(np.logaddexp(log(LOSS_WEIGHT) + one_loses, log(1 - LOSS_WEIGHT) + anything))


def lost_p(lost: Sequence[int], assigned: Sequence[int]) -> float:
    """P-value of "requests get lost from every variant alike", taking each for itself (Lindon & Malek 2022)."""
    if not sum(lost):
        return 1.0
    return exp(-max(0.0, _dirichlet(*_possible(lost, assigned), PRIOR_LOST)))


def _dirichlet(observed: NDArray[np.float64], expected: NDArray[np.float64], weight: float) -> float:
    """Log of the Bayes factor of a Dirichlet prior of that weight around the expected shares to these themselves."""
    prior = weight * expected
    return float(
        lgamma(weight)
        - lgamma(weight + observed.sum())
        + sum(lgamma(before + units) - lgamma(before) for before, units in zip(prior, observed, strict=True))
        - (observed * np.log(expected)).sum()
    )


def _possible(counts: Sequence[int], weights: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counts of the variants that can have any, and their shares."""
    share = np.asarray(weights, np.float64)
    positive = share > 0
    return np.asarray(counts, np.float64)[positive], share[positive] / share.sum()
