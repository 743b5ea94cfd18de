"""Tests that stay valid however often one looks, and may stop the moment they say so.

An ordinary p-value falls below 0.05 on one of many days in far more than 5 % of the experiments without a difference.
Those here fall below alpha in at most alpha of them, over all looks together.
"""

from collections.abc import Sequence
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp
from scipy.stats import chisquare, norm

from api.reports.proportions import Interval, Proportion

# Standard deviation of the normal prior on the difference of two accuracies: the test is sharpest for differences of
# this size, and valid with any, as long as it was chosen before the data.
PRIOR_SD = 0.03

# Its normal approximation needs so many effective observations on each side.
LEAST_EFFECTIVE = 100

# That of the chi-square test needs so many expected units of each variant.
LEAST_EXPECTED = 10

# split_p() looks for one variant that loses this part of its units, with this weight, and for anything else with the
# rest; the weight of the prior for anything else, in observations, makes it sharpest after some tens of thousands.
LOSS, LOSS_WEIGHT = 0.05, 0.8
PRIOR_OBSERVATIONS = 1000

# Of lost requests there are few, and those of one variant alone are far from the shares: a wide prior.
PRIOR_LOST = 10


def variance_of_difference(one: Proportion, other: Proportion) -> float:
    """Of the difference of two rates, with one success and one failure added to each so that it is never 0.

    The addition is Laplace's; it vanishes where LEAST_EFFECTIVE is met.
    """
    return sum(_variance(side) for side in (one, other))


def msprt_p(difference: float, variance: float) -> float:
    """Always-valid p-value of no difference: the mixture sequential probability ratio test.

    1 over the likelihood ratio of "difference ~ N(0, PRIOR_SD^2)" to "difference = 0" for a difference that is observed
    with that variance (Johari, Pekelis & Walsh 2022, "Always valid inference: continuous monitoring of A/B tests",
    Operations Research 70, arXiv:1512.04922). It is capped at 1 and asks for no memory of earlier looks. That the
    estimated variance may stand for the true one is asymptotic: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024,
    "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 52.
    """
    prior = PRIOR_SD**2
    log_ratio = 0.5 * log(variance / (variance + prior)) + prior * difference**2 / (2 * variance * (variance + prior))
    return exp(-max(0.0, log_ratio))


def confidence_sequence(difference: float, variance: float, alpha: float) -> Interval:
    """The differences that msprt_p() does not reject: covers the truth at all looks at once with 1 - alpha."""
    half = boundary(variance, alpha)
    return Interval(max(-1.0, difference - half), min(1.0, difference + half))


def boundary(variance: float, alpha: float) -> float:
    """The smallest difference that msprt_p() rejects at alpha: its formula, solved for the difference."""
    prior = PRIOR_SD**2
    return sqrt(variance * (variance + prior) / prior * (2 * log(1 / alpha) + log((variance + prior) / variance)))


def sequential_sample_size(control: float, effect: float, *, ratio: float, power: float, alpha: float) -> float:
    """Independent observations of the treatment by which msprt_p() has found the effect with that power.

    ratio: control's observations for each of the treatment's. It looks for the variance at which the boundary lies as
    far below the effect as the power asks for; earlier looks can only find it sooner. Raises ValueError as
    sample_size() does.
    """
    treated = control + effect
    if not 0 <= treated <= 1 or effect == 0:
        raise ValueError(f"an accuracy of {control:.3f} cannot change by {effect:+.3f}")
    quantile = float(norm.ppf(power))

    def excess(log_variance: float) -> float:
        variance = exp(log_variance)
        return boundary(variance, alpha) + quantile * sqrt(variance) - abs(effect)

    variance = exp(brentq(excess, log(1e-14), log(1.0)))
    return (treated * (1 - treated) + control * (1 - control) / ratio) / variance


def split_p(counts: Sequence[int], weights: Sequence[float]) -> float:
    """Always-valid p-value of "units fall to the variants by these weights". 0 when a variant of weight 0 has units.

    1 over the likelihood ratio of a mixture to the weights themselves. The mixture: one of the variants, each as
    likely, loses LOSS of its units; and any other shares, by a Dirichlet prior around the weights (Lindon & Malek 2022,
    "Anytime-valid inference for multinomial count data", NeurIPS 35). A mixture of likelihood ratios is a martingale
    where the weights hold, so that it reaches 1 / alpha at any time with a chance of alpha at most (Ville 1939).
    """
    if _impossible(counts, weights):
        return 0.0
    observed, expected = _possible(counts, weights)
    return exp(-max(0.0, split_log_ratio(observed, expected)))


def split_log_ratio(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Log of split_p()'s likelihood ratio. observed: units; expected: shares, which are positive and add up to 1."""
    losses = observed * log(1 - LOSS) - observed.sum() * np.log(1 - LOSS * expected)
    one_loses = logsumexp(losses) - log(len(losses))
    anything = _dirichlet(observed, expected, PRIOR_OBSERVATIONS)
    return float(np.logaddexp(log(LOSS_WEIGHT) + one_loses, log(1 - LOSS_WEIGHT) + anything))


def lost_p(lost: Sequence[int], assigned: Sequence[int]) -> float:
    """Always-valid p-value of "requests get lost from every variant alike", taking each request for itself.

    The test of Lindon & Malek 2022 of the lost against the shares of the assigned.
    """
    if not sum(lost):
        return 1.0
    observed, expected = _possible(lost, assigned)
    return exp(-max(0.0, _dirichlet(observed, expected, PRIOR_LOST)))


def chi_square_p(counts: Sequence[int], weights: Sequence[float]) -> float | None:
    """Pearson's test of what split_p() tests, at a single look (Pearson 1900).

    None for one variant alone, and where fewer than LEAST_EXPECTED units are expected of one, as its approximation does
    not hold there. 0 when a variant of weight 0 has units.
    """
    if _impossible(counts, weights):
        return 0.0
    observed, expected = _possible(counts, weights)
    if len(observed) < 2 or (expected * observed.sum()).min() < LEAST_EXPECTED:
        return None
    return float(chisquare(observed, expected * observed.sum()).pvalue)


def _dirichlet(observed: NDArray[np.float64], expected: NDArray[np.float64], weight: float) -> float:
    """Log of the Bayes factor of a Dirichlet prior of that weight around the expected shares to these themselves."""
    prior = weight * expected
    return float(
        gammaln(weight)
        - gammaln(weight + observed.sum())
        + (gammaln(prior + observed) - gammaln(prior)).sum()
        - (observed * np.log(expected)).sum()
    )


def _impossible(counts: Sequence[int], weights: Sequence[float]) -> bool:
    return any(count for count, weight in zip(counts, weights, strict=True) if weight == 0)


def _possible(counts: Sequence[int], weights: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counts of the variants that can have any, and their shares."""
    share = np.asarray(weights, np.float64)
    positive = share > 0
    return np.asarray(counts, np.float64)[positive], share[positive] / share.sum()


def _variance(side: Proportion) -> float:
    n = side.effective
    rate = (side.rate * n + 1) / (n + 2)
    return rate * (1 - rate) / n
