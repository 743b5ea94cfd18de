"""Proportions of known data."""

import numpy as np

from api.reports.proportions import Proportion


def independent(successes: int, n: int) -> Proportion:
    return Proportion(n, successes, n, n, successes, successes)


def clustered(sizes: np.ndarray, successes: np.ndarray) -> Proportion:
    sums = (sizes.sum(), successes.sum(), len(sizes), (sizes**2).sum(), (successes**2).sum(), (sizes * successes).sum())
    return Proportion(*map(int, sums))
