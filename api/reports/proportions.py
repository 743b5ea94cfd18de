"""Statistics of one look: proportions of clustered data, their differences, and sample sizes.

Faces of one subject are not independent, so everything here counts effective faces: the faces divided by the design
effect, after which the usual formulas for independent observations apply (Rao & Scott 1992, "A simple method for the
analysis of clustered binary data", Biometrics 48:577-585).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from scipy.stats import chi2, norm

_LEAST_SUBJECTS = 100


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Proportion:
    """Successes among n observations in clusters of sizes n_i with s_i successes.

    sizes_squared: sum of n_i^2; successes_squared: sum of s_i^2; products: sum of n_i s_i.
    """

    n: int
    successes: int
    clusters: int
    sizes_squared: int
    successes_squared: int
    products: int

    @property
    def rate(self) -> float:
        """n must not be 0."""
        return self.successes / self.n

    @property
    def design_effect(self) -> float:
        """Variance of the rate under clustering over that of independent observations; at least 1.

        The variance under clustering is that of a ratio estimator, k / (k - 1) * sum (s_i - rate n_i)^2 / n^2 for k
        clusters (Rao & Scott 1992). Where the data cannot tell, in one cluster or at a rate of 0 or 1,
        full correlation is assumed: sum n_i^2 / n (Kish 1965, "Survey Sampling").
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


@dataclass(frozen=True, slots=True)
class Activity:
    """subjects with requests_i requests each. requests: their sum; squares: sum of requests_i^2."""

    subjects: int
    requests: int
    squares: int

    @property
    def mean(self) -> float:
        """Requests of one subject; 0 without any."""
        return self.requests / self.subjects if self.subjects else 0.0

    @property
    def variance(self) -> float:
        """Of one subject's requests; subjects must be 2 or more."""
        return max(0.0, (self.squares - self.requests**2 / self.subjects) / (self.subjects - 1))


def activity_p(variants: Sequence[Activity]) -> float:
    """p-value of "subjects of every variant send equally many requests", whose variances may differ.

    The weighted sum of squares of Welch 1951, "On the comparison of several mean values", Biometrika 38:330-336, with
    its chi-square limit for large samples: variants of fewer than 100 subjects are left out, and so are those whose
    subjects do not differ at all. With two variants it is the square of Welch's t.
    """
    large = [one for one in variants if one.subjects >= _LEAST_SUBJECTS and one.variance > 0]
    if len(large) < 2:
        return 1.0
    weights = [one.subjects / one.variance for one in large]
    mean = sum(weight * one.mean for weight, one in zip(weights, large, strict=True)) / sum(weights)
    squares = sum(weight * (one.mean - mean) ** 2 for weight, one in zip(weights, large, strict=True))
    return float(chi2.sf(squares, len(large) - 1))


def wilson(rate: float, n: float, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion, n > 0 (Wilson 1927, "Probable inference", JASA 22:209-212)."""
    z = _two_sided(1 - confidence)
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # Rounding must not push an end past the rate where they coincide, at 0 and 1.
    return Interval(min(rate, max(0.0, centre - half)), max(rate, min(1.0, centre + half)))


def newcombe(rate: float, n: float, control: float, control_n: float, confidence: float = 0.95) -> Interval:
    """Interval of rate - control (Newcombe 1998, method 10, Statistics in Medicine 17:873-890)."""
    one, other = wilson(rate, n, confidence), wilson(control, control_n, confidence)
    difference = rate - control
    return Interval(
        difference - sqrt((rate - one.low) ** 2 + (other.high - control) ** 2),
        difference + sqrt((one.high - rate) ** 2 + (control - other.low) ** 2),
    )


def two_proportion_p(rate: float, n: float, control: float, control_n: float) -> float:
    """Two-sided p-value of no difference: the pooled z test, which is Pearson's chi-square without correction.

    Source: Fleiss, Levin & Paik 2003, "Statistical Methods for Rates and Proportions", chapter 3.
    """
    pooled = (rate * n + control * control_n) / (n + control_n)
    variance = pooled * (1 - pooled) * (1 / n + 1 / control_n)
    if variance == 0:
        return 1.0
    return float(2 * norm.sf(abs(rate - control) / sqrt(variance)))


def sample_size(control: float, effect: float, *, ratio: float, power: float, alpha: float = 0.05) -> tuple[int, int]:
    """Independent observations for (treatment, control) so that a single test at the end finds the effect.

    control: rate of the control; effect: difference to find, either sign; ratio: control's observations for each of the
    treatment's. Source: Fleiss, Levin & Paik 2003, chapter 4, without correction for continuity. Raises ValueError
    when control + effect is not a rate.
    """
    treated = control + effect
    if not 0 <= treated <= 1 or effect == 0:
        raise ValueError(f"an accuracy of {control:.3f} cannot change by {effect:+.3f}")
    pooled = (treated + ratio * control) / (1 + ratio)
    alike = _two_sided(alpha) * sqrt((1 + 1 / ratio) * pooled * (1 - pooled))
    apart = float(norm.ppf(power)) * sqrt(treated * (1 - treated) + control * (1 - control) / ratio)
    n = ((alike + apart) / effect) ** 2
    return ceil(n), ceil(ratio * n)


def _two_sided(alpha: float) -> float:
    return float(norm.isf(alpha / 2))
