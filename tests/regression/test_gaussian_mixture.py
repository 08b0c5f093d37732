"""Predictive mixtures: one component, the slow twin, quadrature, hard quantiles and implicit gradients."""

import math

import pytest
import torch
from oracles import regression as oracle
from scipy import integrate

from trueline.regression import Gaussian, GaussianMixture


def _draw(generator: torch.Generator, samples: int = 8, components: int = 3) -> GaussianMixture:
    logits, location, log_scale = torch.randn(3, samples, components, generator=generator, dtype=torch.float64)
    return GaussianMixture(logits.softmax(dim=1), 3 * location, log_scale.exp())


def _row(mixture: GaussianMixture, i: int) -> tuple[list[float], list[float], list[float]]:
    return mixture.weight[i].tolist(), mixture.location[i].tolist(), mixture.scale[i].tolist()


def test_one_component_is_a_gaussian(generator: torch.Generator) -> None:
    mixture = _draw(generator, components=1)
    gaussian = Gaussian(mixture.location[:, 0], mixture.scale[:, 0])
    y = torch.randn(8, generator=generator, dtype=torch.float64)
    levels = torch.tensor([0.0, 0.1, 0.5, 1.0], dtype=torch.float64)
    for name in ("cdf", "log_density", "crps"):
        assert torch.allclose(getattr(mixture, name)(y), getattr(gaussian, name)(y), atol=1e-13)
    assert torch.allclose(mixture.quantile(levels), gaussian.quantile(levels))
    assert torch.equal(mixture.mean(), gaussian.mean())


def test_equal_components_are_one(generator: torch.Generator) -> None:
    weight = torch.rand(5, 4, generator=generator, dtype=torch.float64)
    ones = torch.ones(5, 4, dtype=torch.float64)
    mixture = GaussianMixture(weight / weight.sum(dim=1, keepdim=True), ones, 2 * ones)
    y = torch.linspace(-3, 3, 5, dtype=torch.float64)
    assert torch.allclose(mixture.crps(y), Gaussian(ones[:, 0], 2 * ones[:, 0]).crps(y), atol=1e-13)


def test_the_score_agrees_with_quadrature(generator: torch.Generator) -> None:
    mixture = _draw(generator, 3)
    y = torch.randn(3, generator=generator, dtype=torch.float64)
    for i in range(3):
        row, at = _row(mixture, i), y[i].item()
        below = integrate.quad(lambda x, row=row: oracle.mixture_cdf(*row, x) ** 2, at - 60, at, limit=200)[0]
        above = integrate.quad(lambda x, row=row: (1 - oracle.mixture_cdf(*row, x)) ** 2, at, at + 60, limit=200)[0]
        assert mixture.crps(y)[i].item() == pytest.approx(below + above, rel=1e-6)


def test_the_slow_twin_finds_the_same_quantiles(generator: torch.Generator) -> None:
    mixture = _draw(generator)
    levels = torch.tensor([1e-6, 0.03, 0.5, 0.8, 1 - 1e-6], dtype=torch.float64)
    quantiles = mixture.quantile(levels)
    for i in range(8):
        expected = [oracle.mixture_quantile(*_row(mixture, i), level) for level in levels.tolist()]
        assert quantiles[i].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert torch.allclose(mixture.cdf(quantiles), levels.expand(8, 5), atol=1e-12)


def test_components_far_apart_leave_no_quantile_unfound() -> None:
    """In the valley between them the density is zero, so Newton steps alone would never arrive."""
    mixture = GaussianMixture(
        torch.tensor([[0.3, 0.7]]).double(), torch.tensor([[-1e4, 1e4]]).double(), torch.tensor([[1e-3, 1.0]]).double()
    )
    levels = torch.tensor([0.0, 0.1, 0.29, 0.31, 0.9, 1.0], dtype=torch.float64)
    quantiles = mixture.quantile(levels)
    assert torch.allclose(mixture.cdf(quantiles)[0], levels, atol=1e-6)
    assert quantiles[0, [0, 5]].tolist() == [-math.inf, math.inf]


def test_a_component_of_no_weight_does_not_matter(generator: torch.Generator) -> None:
    mixture = _draw(generator)
    zero = torch.zeros(8, 1, dtype=torch.float64)
    more = GaussianMixture(
        torch.cat([mixture.weight, zero], 1), torch.cat([mixture.location, zero + 50], 1),
        torch.cat([mixture.scale, zero + 1], 1),
    )  # fmt: skip
    y = torch.randn(8, generator=generator, dtype=torch.float64)
    levels = torch.tensor([0.2, 0.99], dtype=torch.float64)
    for name in ("cdf", "log_density", "crps"):
        assert torch.allclose(getattr(more, name)(y), getattr(mixture, name)(y), atol=1e-12)
    assert torch.allclose(more.quantile(levels), mixture.quantile(levels), atol=1e-9)


def test_several_values_a_sample_are_those_one_by_one(generator: torch.Generator) -> None:
    mixture = _draw(generator)
    y = torch.randn(8, generator=generator, dtype=torch.float64)
    for function in (mixture.cdf, mixture.log_density):
        both = function(torch.stack([y, y + 1], dim=1))
        assert torch.allclose(both, torch.stack([function(y), function(y + 1)], dim=1), atol=1e-14)


def test_gradients_reach_the_parameters_through_quantiles_too(generator: torch.Generator) -> None:
    mixture = _draw(generator, 1)
    y, levels = torch.randn(1, generator=generator).double(), torch.tensor([0.2, 0.7], dtype=torch.float64)
    inputs = [p.clone().requires_grad_() for p in (mixture.weight.log(), mixture.location, mixture.scale)]

    def values(logits: torch.Tensor, location: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        one = GaussianMixture(logits.softmax(dim=1), location, scale)
        return torch.cat([one.crps(y), one.log_density(y), one.cdf(y), one.quantile(levels).flatten()])

    assert torch.autograd.gradcheck(values, inputs, atol=1e-5)


def test_infinite_quantiles_do_not_spoil_gradients() -> None:
    location = torch.zeros(1, 2, requires_grad=True)
    mixture = GaussianMixture(torch.tensor([[0.5, 0.5]]), location, torch.ones(1, 2))
    mixture.quantile(torch.tensor([0.0, 0.5]))[:, 1].sum().backward()
    assert location.grad is not None
    assert location.grad.sum().item() == pytest.approx(1, abs=1e-5)


def test_bad_weights_are_refused() -> None:
    ones = torch.ones(1, 2)
    with pytest.raises(ValueError, match=r"sum to 1 in each row.*miss 1 by up to 1; apply softmax"):
        GaussianMixture(ones, ones, ones)
    with pytest.raises(ValueError, match="at least zero"):
        GaussianMixture(torch.tensor([[1.5, -0.5]]), ones, ones)
