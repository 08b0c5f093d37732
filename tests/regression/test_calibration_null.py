"""Chance laws of calibration errors: closed-form means, the published floor, coverage of the interval."""

import math

import pytest
import torch

from trueline.regression import (
    probabilistic_calibration_error,
    probabilistic_calibration_interval,
    probabilistic_calibration_null,
    sorted_calibration_null,
)


def _mean_deviation(n: int, p: float) -> float:
    """The mean absolute deviation of a binomial share, by De Moivre."""
    m = math.floor(n * p)
    log = (
        (n - m) * math.log1p(-p) + (m + 1) * math.log(p) + math.lgamma(n + 1) - math.lgamma(m + 1) - math.lgamma(n - m)
    )
    return 2 * math.exp(log) / n


@pytest.mark.parametrize("n", [1, 20, 500])
def test_the_mean_is_that_of_binomial_deviations(n: int) -> None:
    null = probabilistic_calibration_null(n, levels=19, draws=4000)
    expected = sum(_mean_deviation(n, j / 20) for j in range(1, 20)) / 19
    assert null.mean == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("n", [1, 20, 500])
def test_the_mean_square_has_a_closed_form(n: int) -> None:
    levels = 9
    null = probabilistic_calibration_null(n, levels=levels, power=2, draws=4000)
    assert null.mean == pytest.approx((levels + 2) / (6 * (levels + 1) * n), rel=0.08)
    assert sorted_calibration_null(n, power=2, draws=4000).mean == pytest.approx(1 / (6 * (n + 1)), rel=0.08)


def test_the_floor_falls_with_the_root_of_the_samples() -> None:
    # √(2/π)·π/8 is the mean of |Brownian bridge| over levels; the interval is four standard errors of the mean.
    constant = math.sqrt(2 / math.pi) * math.pi / 8
    assert constant == pytest.approx(0.313, abs=5e-4)
    for n in (200, 2000):
        null = probabilistic_calibration_null(n, draws=4000)
        assert null.mean * math.sqrt(n) == pytest.approx(constant, rel=0.03)
    assert null.mean == pytest.approx(0.0070, abs=2e-4)


def test_both_laws_meet_for_many_samples() -> None:
    level, order = probabilistic_calibration_null(400), sorted_calibration_null(400)
    assert level.mean == pytest.approx(order.mean, rel=0.08)
    assert level.limit == pytest.approx(order.limit, rel=0.1)
    assert level.limit > level.mean


def test_right_predictions_stay_below_the_limit_as_often_as_stated(generator: torch.Generator) -> None:
    null = probabilistic_calibration_null(60, level=0.9, draws=4000)
    errors = [probabilistic_calibration_error(row).item() for row in torch.rand(400, 60, generator=generator)]
    within = sum(error <= null.limit for error in errors)
    assert 335 <= within <= 384  # 360 ± 4 standard deviations


def test_the_interval_covers_the_error_of_many_samples(generator: torch.Generator) -> None:
    # PITs of a model whose standard deviation is half of what it should be.
    def draw(n: int) -> torch.Tensor:
        return torch.special.ndtr(2 * torch.randn(n, generator=generator, dtype=torch.float64))

    truth = probabilistic_calibration_error(draw(200_000)).item()
    held = 0
    for _ in range(60):
        found = probabilistic_calibration_interval(draw(200), draws=200)
        assert found.low <= found.value <= found.high
        held += found.low <= truth <= found.high
    assert held >= 50


def test_few_samples_have_an_infinite_interval() -> None:
    found = probabilistic_calibration_interval(torch.rand(29, generator=torch.Generator().manual_seed(0)))
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_pits_that_are_all_alike_have_an_interval_of_no_width() -> None:
    found = probabilistic_calibration_interval(torch.full((50,), 0.5))
    assert found.low == pytest.approx(found.value)
    assert found.high == pytest.approx(found.value)


def test_results_repeat_and_generators_change_them() -> None:
    assert probabilistic_calibration_null(50) == probabilistic_calibration_null(50)
    other = probabilistic_calibration_null(50, generator=torch.Generator().manual_seed(1))
    assert other != probabilistic_calibration_null(50)


def test_impossible_options_are_refused() -> None:
    for call in (probabilistic_calibration_null, sorted_calibration_null):
        with pytest.raises(ValueError, match="samples and draws must be at least 1"):
            call(0)
        with pytest.raises(ValueError, match="level must lie"):
            call(10, level=1.0)
