"""Statistics of one look: proportions of clustered data and their differences.

Everything here takes effective observations, which are the observations divided by the design effect. Formulas and
sources: docs/experiments.md.
"""

from dataclasses import dataclass
from math import erfc, sqrt
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Proportion:
    """Successes among observations that come in clusters of n_i observations with s_i successes."""

    # Sums of n_i and s_i, and the number of clusters.
    n: int
    successes: int
    clusters: int
    # Sums of n_i^2, s_i^2 and n_i s_i.
    sizes_squared: int
    successes_squared: int
    products: int

    @property
    def rate(self) -> float:
        """n must not be 0."""
        return self.successes / self.n

    @property
    def design_effect(self) -> float:
        """Variance of the rate under clustering over that of independent observations, at least 1 (Rao & Scott 1992).

        Where the data cannot tell, full correlation is assumed (Kish 1965).
        """
        if self.clusters == self.n:
            return 1.0
        if self.clusters < 2 or self.successes in (0, self.n):
            return self.sizes_squared / self.n
        rate = self.rate
        residuals = self.successes_squared - 2 * rate * self.products + rate**2 * self.sizes_squared
        clustered = self.clusters / (self.clusters - 1) * residuals / self.n**2
        return max(1.0, clustered / (rate * (1 - rate) / self.n))

    @property
    def effective(self) -> float:
        """Independent observations that would tell as much."""
        return self.n / self.design_effect


def wilson(rate: float, n: float, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion, n > 0 (Wilson 1927)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # Rounding must not push an end past the rate where they coincide, at 0 and 1.
    return Interval(min(rate, max(0.0, centre - half)), max(rate, min(1.0, centre + half)))


def newcombe(rate: float, n: float, control: float, control_n: float, confidence: float = 0.95) -> Interval:
    """Interval of rate - control (Newcombe 1998, method 10)."""
    one, other = wilson(rate, n, confidence), wilson(control, control_n, confidence)
    difference = rate - control
    return Interval(
        difference - sqrt((rate - one.low) ** 2 + (other.high - control) ** 2),
        difference + sqrt((one.high - rate) ** 2 + (control - other.low) ** 2),
    )


def two_proportion_p(rate: float, n: float, control: float, control_n: float) -> float:
    """Two-sided p-value of no difference: the pooled z test (Fleiss, Levin & Paik 2003, chapter 3)."""
    pooled = (rate * n + control * control_n) / (n + control_n)
    variance = pooled * (1 - pooled) * (1 / n + 1 / control_n)
    if variance == 0:
        return 1.0
    return erfc(abs(rate - control) / sqrt(2 * variance))
