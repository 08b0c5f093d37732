"""The report of predictive distributions: right and wrong models, exact shares, sentences, drawing and end cases."""

import math

import pytest
import torch
from scipy import stats

from trueline.regression import (
    EmpiricalRecalibration,
    Gaussian,
    LinearRecalibration,
    RegressionReport,
    evaluate_regression,
    pit,
)
from trueline.regression._regression_report import _binomial_band

N = 600


def _model(scale: float = 1.0, n: int = N) -> Gaussian:
    return Gaussian(torch.zeros(n, dtype=torch.float64), torch.full((n,), scale, dtype=torch.float64))


@pytest.fixture(scope="module")
def y() -> torch.Tensor:
    return torch.randn(N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="module")
def right(y: torch.Tensor) -> RegressionReport:
    return evaluate_regression(_model(), y)


@pytest.fixture(scope="module")
def sure(y: torch.Tensor) -> RegressionReport:
    return evaluate_regression(_model(0.5), y)


def test_right_predictions_are_within_noise(right: RegressionReport) -> None:
    assert right.calibration_error.value < right.null.limit
    assert "within noise" in str(right)
    inside = (right.coverage_low <= right.levels) & (right.levels <= right.coverage_high)
    assert inside.all()
    outside = (right.histogram < right.histogram_low) | (right.histogram > right.histogram_high)
    assert outside.sum() <= 4  # of 20, at 5 % each


def test_overconfident_predictions_are_found(sure: RegressionReport) -> None:
    assert sure.calibration_error.low > sure.null.limit
    assert "more than chance" in str(sure)
    expected = [2 * stats.norm.cdf(0.5 * stats.norm.ppf((1 + c) / 2)) - 1 for c in sure.levels.tolist()]
    assert sure.coverage.tolist() == pytest.approx(expected, abs=0.05)
    assert (sure.coverage_high < sure.levels).all()
    assert sure.histogram[[0, -1]].min() > sure.histogram_high


def test_widths_are_exact(right: RegressionReport, sure: RegressionReport) -> None:
    expected = [2 * stats.norm.ppf((1 + c) / 2) for c in right.levels.tolist()]
    assert right.width.tolist() == pytest.approx(expected, rel=1e-10)
    assert torch.allclose(sure.width, right.width / 2)


def test_means_are_those_of_the_samples(y: torch.Tensor, right: RegressionReport) -> None:
    assert right.mean_crps.value == pytest.approx(_model().crps(y).mean().item())
    assert right.mean_negative_log_density is not None
    assert right.mean_negative_log_density.value == pytest.approx(-_model().log_density(y).mean().item())
    assert right.histogram.sum().item() == pytest.approx(1)
    assert torch.equal(right.pit, pit(_model(), y))


def test_a_recalibration_by_steps_has_no_log_score(y: torch.Tensor) -> None:
    values = pit(_model(0.5), torch.randn(N, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    steps = evaluate_regression(EmpiricalRecalibration().fit(values).recalibrate(_model(0.5)), y)
    assert steps.negative_log_density is None
    assert steps.mean_negative_log_density is None
    assert "no log score" in str(steps)
    lines = evaluate_regression(LinearRecalibration().fit(values).recalibrate(_model(0.5)), y)
    assert lines.mean_negative_log_density is not None
    for report in (steps, lines):
        assert report.calibration_error.value < 0.04
        assert report.mean_crps.value == pytest.approx(_model().crps(y).mean().item(), rel=0.03)


@pytest.mark.parametrize(("n", "chance"), [(1, 0.5), (7, 0.1), (600, 0.05), (50, 1.0)])
def test_the_band_is_the_exact_binomial_one(n: int, chance: float) -> None:
    low, high = _binomial_band(n, chance)
    law = stats.binom(n, chance)
    assert law.cdf(high) - law.cdf(low - 1) >= 0.95
    assert low == 0 or law.cdf(low) >= 0.025 > law.cdf(low - 1) - 1e-12
    assert law.cdf(high) >= 0.975


def test_the_record_is_drawn_and_becomes_json(right: RegressionReport) -> None:
    values = right.to_dict()
    assert set(right.units) == set(values)
    assert len(values["pit"]) == N
    assert values["null"]["draws"] == 1000
    assert right.plot().to_dict()["layer"]


@pytest.mark.parametrize("ends", [[0.0] * 300, [1.0] * 300, [0.0, 1.0] * 150])
def test_mass_at_infinity_gives_infinite_numbers(y: torch.Tensor, ends: list[float]) -> None:
    steps = EmpiricalRecalibration().fit(torch.tensor([*ends, 0.5]))
    report = evaluate_regression(steps.recalibrate(_model()), y, draws=10)
    assert report.width.tolist() == [math.inf] * 6
    assert list(vars(report.mean_crps).values()) == [math.inf] * 3
    assert "an infinite score" in str(report)
    lines = LinearRecalibration().fit(torch.tensor([*ends, 0.5])).recalibrate(_model())
    assert evaluate_regression(lines, y, draws=10).mean_crps.high < math.inf


def test_one_outcome_is_enough() -> None:
    report = evaluate_regression(_model(n=1), torch.zeros(1), draws=10)
    assert report.calibration_error.high == math.inf
    assert report.coverage.tolist() == [1] * 6
    assert str(report)


def test_results_repeat_and_leave_the_random_state_alone(y: torch.Tensor, right: RegressionReport) -> None:
    state = torch.get_rng_state()
    assert evaluate_regression(_model(), y).to_dict() == right.to_dict()
    assert torch.equal(state, torch.get_rng_state())


def test_bad_input_is_refused(y: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="finite outcomes"):
        evaluate_regression(_model(n=1), torch.tensor([math.nan]))
    with pytest.raises(ValueError, match="levels must lie"):
        evaluate_regression(_model(), y, levels=(1.0,))
    with pytest.raises(ValueError, match="bins be at least 1"):
        evaluate_regression(_model(), y, bins=0)
    with pytest.raises(ValueError, match="y must have shape"):
        evaluate_regression(_model(n=3), y)
