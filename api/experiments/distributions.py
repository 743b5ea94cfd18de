"""The tails and quantiles that the report's tests need.

They are few, and SciPy, which has them all, would be a quarter of what the gateway installs.
"""

from math import erfc, exp, lgamma, log, sqrt
from statistics import NormalDist

_STANDARD = NormalDist()


def normal_quantile(probability: float) -> float:
    """Where the standard normal distribution function reaches `probability`, in (0, 1). Raises ValueError outside."""
    return _STANDARD.inv_cdf(probability)


def normal_two_sided(z: float) -> float:
    """Chance that a standard normal variable lies at least as far from 0 as z."""
    return erfc(abs(z) / sqrt(2))


def chi_square_tail(value: float, degrees: int) -> float:
    """Chance that a chi-square variable of `degrees` >= 1 is at least `value` >= 0.

    Q(degrees / 2, value / 2), by the recurrence of the incomplete gamma function, which ends where the degrees are
    whole (NIST Digital Library of Mathematical Functions, 8.8.6).
    """
    half = value / 2
    if half == 0:
        return 1.0
    order, tail = (0.5, erfc(sqrt(half))) if degrees % 2 else (0.0, 0.0)
    while order < degrees / 2:
        tail += exp(order * log(half) - half - lgamma(order + 1))
        order += 1
    return min(1.0, tail)
