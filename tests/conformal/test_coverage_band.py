"""The law of coverage: closed forms and an independent package."""

import pytest
from scipy import stats

from trueline.conformal import coverage_band


@pytest.mark.parametrize(("n", "alpha", "m"), [(20, 0.1, 50), (100, 0.1, 1000), (999, 0.05, 7000), (10, 0.5, 3)])
def test_it_agrees_with_an_independent_package(n: int, alpha: float, m: int) -> None:
    k = -int(-(n + 1) * (1 - alpha) // 1)
    law = stats.betabinom(m, k, n + 1 - k)
    low, high = coverage_band(n, alpha, m, level=0.9)
    assert law.cdf(low * m - 1) <= 0.05 < law.cdf(low * m)
    assert law.sf(high * m) <= 0.05 < law.sf(high * m - 1)
    endless = stats.beta(k, n + 1 - k).ppf([0.05, 0.95])
    assert coverage_band(n, alpha, level=0.9) == pytest.approx(tuple(endless), rel=1e-9)


def test_one_of_each_is_a_coin() -> None:
    # n = 1 and alpha = 0.5: coverage is uniform, and so is the number covered.
    assert coverage_band(1, 0.5) == pytest.approx((0.025, 0.975))
    assert coverage_band(1, 0.5, 99, level=0.8) == (10 / 99, 89 / 99)


def test_full_sets_cover_all() -> None:
    assert coverage_band(8, 0.1, 100) == (1, 1)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        coverage_band(10, 1.0)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        coverage_band(0, 0.1)
    with pytest.raises(ValueError, match="at least 1"):
        coverage_band(10, 0.1, 0)
    with pytest.raises(ValueError, match="level"):
        coverage_band(10, 0.1, level=95)
