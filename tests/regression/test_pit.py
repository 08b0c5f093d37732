"""The probability integral transform: uniform for right predictions, also with atoms, and not random without."""

import pytest
import torch
from scipy import stats

from trueline.regression import Gaussian, GaussianMixture, QuantileGrid, pit


def test_right_predictions_are_uniform(generator: torch.Generator) -> None:
    location, noise = torch.randn(2, 2000, generator=generator, dtype=torch.float64)
    scale = torch.rand(2000, generator=generator, dtype=torch.float64) + 0.1
    values = pit(Gaussian(location, scale), location + scale * noise)
    assert stats.kstest(values.numpy(), "uniform").pvalue > 1e-3
    pair = GaussianMixture(
        torch.full((2000, 2), 0.5).double(), torch.stack([location, location + 4], 1), scale.repeat(2, 1).T
    )
    component = torch.rand(2000, generator=generator) < 0.5
    values = pit(pair, location + 4 * component + scale * noise)
    assert stats.kstest(values.numpy(), "uniform").pvalue > 1e-3


def test_atoms_are_spread(generator: torch.Generator) -> None:
    """Outcomes 0, 1, 2 from a law with atoms of .25, .5 and .25 there."""
    levels = torch.tensor([0.125, 0.25, 0.2500001, 0.75, 0.7500001, 0.875], dtype=torch.float64)
    grid = QuantileGrid(torch.tensor([[0, 0, 1, 1, 2, 2]]).double().expand(4000, 6), levels)
    y = torch.tensor([0.0, 1.0, 1.0, 2.0], dtype=torch.float64).repeat(1000)
    values = pit(grid, y, generator=generator)
    assert stats.kstest(values.numpy(), "uniform").pvalue > 1e-3
    assert torch.equal(values, pit(grid, y, generator=torch.Generator().manual_seed(0)))
    assert not torch.equal(values, pit(grid, y, generator=torch.Generator().manual_seed(1)))


def test_nothing_is_random_without_atoms() -> None:
    standard = Gaussian(torch.zeros(3), torch.ones(3))
    y = torch.tensor([-1.0, 0.0, 1.0])
    state = torch.get_rng_state()
    first = pit(standard, y, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, pit(standard, y))
    assert torch.equal(first, standard.cdf(y.double()))
    assert torch.equal(state, torch.get_rng_state())


def test_it_does_not_depend_on_the_unit(generator: torch.Generator) -> None:
    location, y = torch.randn(2, 50, generator=generator, dtype=torch.float64)
    ones = torch.ones(50, dtype=torch.float64)
    first = pit(Gaussian(location, ones), y)
    assert torch.allclose(first, pit(Gaussian(8 * location - 3, 8 * ones), 8 * y - 3), atol=1e-12)


def test_gradients_pass() -> None:
    location = torch.zeros(2, requires_grad=True)
    pit(Gaussian(location, torch.ones(2)), torch.zeros(2)).sum().backward()
    assert location.grad is not None
    assert location.grad.tolist() == pytest.approx([-0.39894] * 2, abs=1e-5)
