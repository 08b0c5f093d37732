"""The beta distribution: closed forms, symmetry, inverses, ends, and an independent package."""

import math

import pytest
import torch
from scipy import stats

from trueline.numerics import beta_cdf, beta_quantile, clopper_pearson_interval


def _grid() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.tensor([0.0, 1e-9, 0.01, 0.3, 0.5, 0.9, 0.999, 1.0], dtype=torch.float64)
    a, b = torch.tensor([[0.5, 1.0, 3.0, 90.0, 2000.0], [0.5, 4.0, 1.0, 11.0, 300.0]], dtype=torch.float64)
    return x[:, None], a, b


def test_powers_have_closed_forms() -> None:
    x = torch.linspace(0, 1, 21, dtype=torch.float64)
    assert torch.allclose(beta_cdf(x, torch.tensor(3.0), torch.tensor(1.0)), x**3, atol=1e-14)
    assert torch.allclose(beta_cdf(x, torch.tensor(1.0), torch.tensor(3.0)), 1 - (1 - x) ** 3, atol=1e-14)


def test_mirroring_swaps_the_parameters() -> None:
    x, a, b = _grid()
    assert torch.allclose(beta_cdf(x, a, b), 1 - beta_cdf(1 - x, b, a), atol=1e-12)


def test_it_agrees_with_an_independent_package() -> None:
    x, a, b = _grid()
    assert torch.allclose(beta_cdf(x, a, b), torch.tensor(stats.beta.cdf(x, a, b)), rtol=1e-10, atol=1e-13)
    p = torch.tensor([1e-6, 0.025, 0.5, 0.975, 1 - 1e-6], dtype=torch.float64)[:, None]
    assert torch.allclose(beta_quantile(p, a, b), torch.tensor(stats.beta.ppf(p, a, b)), rtol=1e-9)


def test_large_parameters_keep_their_digits() -> None:
    a, b = torch.tensor(900_001.0), torch.tensor(100_000.0)
    x = torch.tensor([0.8995, 0.9, 0.9005], dtype=torch.float64)
    assert torch.allclose(beta_cdf(x, a, b), torch.tensor(stats.beta.cdf(x, 900_001, 100_000)), rtol=1e-6)


def test_ends_are_exact() -> None:
    ends = torch.tensor([0.0, 1.0])
    assert beta_cdf(ends, torch.tensor(2.0), torch.tensor(5.0)).tolist() == [0, 1]
    assert beta_quantile(ends, torch.tensor(2.0), torch.tensor(5.0)).tolist() == [0, 1]


def test_quantiles_invert() -> None:
    x, a, b = _grid()
    inside = x[2:5]
    p = beta_cdf(inside, a[:4], b[:4])
    assert torch.allclose(beta_cdf(beta_quantile(p, a[:4], b[:4]), a[:4], b[:4]), p, atol=1e-12)


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (10, 10), (3, 10), (900, 1000), (1, 1)])
def test_the_exact_interval_agrees_with_an_independent_package(hits: int, trials: int) -> None:
    low, high = clopper_pearson_interval(torch.tensor(float(hits)), torch.tensor(float(trials)), level=0.9)
    expected = stats.binomtest(hits, trials).proportion_ci(0.9, "exact")
    assert (low.item(), high.item()) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_all_or_none_have_a_closed_form() -> None:
    low, high = clopper_pearson_interval(torch.tensor([0.0, 20.0]), torch.tensor(20.0))
    end = 1 - 0.025 ** (1 / 20)
    assert low.tolist() == pytest.approx([0, 1 - end])
    assert high.tolist() == pytest.approx([end, 1])


def test_without_a_trial_nothing_is_known() -> None:
    low, high = clopper_pearson_interval(torch.zeros(2), torch.zeros(2))
    assert (low.tolist(), high.tolist()) == ([0, 0], [1, 1])


def test_what_is_out_of_range_is_refused() -> None:
    one = torch.tensor(1.0)
    with pytest.raises(ValueError, match="parameters above 0"):
        beta_cdf(one, 0 * one, one)
    with pytest.raises(ValueError, match="parameters above 0"):
        beta_cdf(one * math.nan, one, one)
    with pytest.raises(ValueError, match="probability"):
        beta_quantile(2 * one, one, one)
    with pytest.raises(ValueError, match="level"):
        clopper_pearson_interval(one, one, level=95)
    with pytest.raises(ValueError, match="between 0 and trials"):
        clopper_pearson_interval(2 * one, one)
