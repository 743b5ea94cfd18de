"""The gateway's own tails and quantiles against SciPy's."""

import numpy as np
import pytest
from scipy.stats import chi2, norm

from api.experiments.distributions import chi_square_tail, normal_quantile, normal_two_sided


@pytest.mark.parametrize("probability", [1e-12, 0.0005, 0.025, 0.5, 0.8, 0.99, 1 - 1e-9])
def test_quantiles_agree_with_scipy(probability: float) -> None:
    assert normal_quantile(probability) == pytest.approx(norm.ppf(probability), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("outside", [0.0, 1.0, -0.1])
def test_there_is_no_quantile_outside_of_0_to_1(outside: float) -> None:
    with pytest.raises(ValueError, match=r"0\.0 < p < 1\.0"):
        normal_quantile(outside)


@pytest.mark.parametrize("z", [0.0, 0.3, -1.96, 8.0, -35.0])
def test_two_sided_tails_agree_with_scipy(z: float) -> None:
    assert normal_two_sided(z) == pytest.approx(2 * norm.sf(abs(z)), rel=1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 20, 101])
def test_chi_square_tails_agree_with_scipy(degrees: int) -> None:
    for value in (*np.geomspace(1e-6, 700, 40), 0.0):
        assert chi_square_tail(value, degrees) == pytest.approx(chi2.sf(value, degrees), rel=1e-9, abs=1e-290)


def test_a_tail_too_small_for_a_float_is_0() -> None:
    assert chi_square_tail(1e7, 50) == 0.0
