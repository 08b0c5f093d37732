"""Normal predictive distributions: closed forms, quadrature, equivariance, gradients and end cases."""

import math

import pytest
import torch
from scipy import integrate, stats

from trueline.regression import Gaussian


@pytest.fixture
def some(generator: torch.Generator) -> tuple[Gaussian, torch.Tensor]:
    location, log_scale, y = torch.randn(3, 12, generator=generator, dtype=torch.float64)
    return Gaussian(location, log_scale.exp()), y


def test_the_score_of_a_standard_normal_at_zero() -> None:
    standard = Gaussian(torch.zeros(1).double(), torch.ones(1).double())
    expected = 2 / math.sqrt(2 * math.pi) - 1 / math.sqrt(math.pi)
    assert standard.crps(torch.zeros(1).double()).item() == pytest.approx(expected, rel=1e-14)
    assert expected == pytest.approx(0.23369, abs=5e-6)


def test_the_score_of_a_point_is_the_distance() -> None:
    y = torch.tensor([-3.0, 0.5, 2.0], dtype=torch.float64)
    point = Gaussian(torch.ones(3).double(), torch.full((3,), 1e-13).double())
    assert torch.allclose(point.crps(y), (y - 1).abs(), atol=1e-12)


def test_the_score_agrees_with_quadrature(some) -> None:
    gaussian, y = some
    for i in range(4):
        law = stats.norm(gaussian.location[i].item(), gaussian.scale[i].item())
        at = y[i].item()
        below = integrate.quad(lambda x, law=law: law.cdf(x) ** 2, -math.inf, at)[0]
        above = integrate.quad(lambda x, law=law: law.sf(x) ** 2, at, math.inf)[0]
        assert gaussian.crps(y)[i].item() == pytest.approx(below + above, rel=1e-7)


def test_cdf_density_and_quantiles_agree_with_scipy(some) -> None:
    gaussian, y = some
    law = stats.norm(gaussian.location.numpy(), gaussian.scale.numpy())
    assert gaussian.cdf(y).tolist() == pytest.approx(law.cdf(y.numpy()).tolist(), rel=1e-12)
    assert gaussian.log_density(y).tolist() == pytest.approx(law.logpdf(y.numpy()).tolist(), rel=1e-12)
    levels = torch.tensor([0.0, 0.01, 0.5, 0.99, 1.0], dtype=torch.float64)
    quantiles = gaussian.quantile(levels)
    assert torch.allclose(gaussian.cdf(quantiles), levels.expand(12, 5), atol=1e-12)
    assert quantiles[:, 0].tolist() == [-math.inf] * 12
    assert quantiles[:, 4].tolist() == [math.inf] * 12


def test_several_values_a_sample_are_those_one_by_one(some) -> None:
    gaussian, y = some
    both = torch.stack([y, y + 1], dim=1)
    for function in (gaussian.cdf, gaussian.log_density, gaussian.cdf_below):
        assert torch.equal(function(both), torch.stack([function(y), function(y + 1)], dim=1))


def test_scaling_scales_the_score(some) -> None:
    gaussian, y = some
    scaled = Gaussian(4 * gaussian.location + 1, 4 * gaussian.scale)
    assert torch.allclose(scaled.crps(4 * y + 1), 4 * gaussian.crps(y), rtol=1e-12)


def test_far_outcomes_stay_finite() -> None:
    standard = Gaussian(torch.zeros(2), torch.ones(2))
    y = torch.tensor([-1e10, 1e10])
    assert standard.crps(y).tolist() == pytest.approx([1e10, 1e10])
    assert standard.log_density(y).isfinite().all()
    assert standard.cdf(y).tolist() == [0, 1]


def test_gradients_reach_the_parameters(some) -> None:
    _, y = some
    location = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    scale = torch.ones(12, dtype=torch.float64, requires_grad=True)

    def scores(m: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return torch.stack([Gaussian(m, s).crps(y), Gaussian(m, s).log_density(y), Gaussian(m, s).cdf(y)])

    assert torch.autograd.gradcheck(scores, (location, scale))


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scale must be positive, got 0; floor it"):
        Gaussian(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="location must be finite; 1 entries are not"):
        Gaussian(torch.tensor([math.nan, 0.0]), torch.ones(2))
    with pytest.raises((ValueError, TypeError)):
        Gaussian(torch.zeros(2), torch.ones(3))
    with pytest.raises(ValueError, match="NaN"):
        Gaussian(torch.zeros(1), torch.ones(1)).cdf(torch.tensor([math.nan]))
    with pytest.raises(ValueError, match=r"y must have shape \(1,\) or \(1, K\)"):
        Gaussian(torch.zeros(1), torch.ones(1)).cdf(torch.zeros(2))
    with pytest.raises(ValueError, match="levels"):
        Gaussian(torch.zeros(1), torch.ones(1)).quantile(torch.tensor([1.5]))
