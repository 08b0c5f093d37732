"""Distributions through quantiles: exact quantiles, tails, atoms, the score against the slow twin, and crossing."""

import itertools
import math

import pytest
import torch
from oracles import regression as oracle
from scipy import integrate

from trueline.regression import QuantileGrid

LEVELS = torch.tensor([0.1, 0.25, 0.5, 0.8], dtype=torch.float64)


def _draw(generator: torch.Generator, samples: int = 6) -> QuantileGrid:
    return QuantileGrid(2 * torch.randn(samples, 4, generator=generator, dtype=torch.float64), LEVELS)


def _points(generator: torch.Generator, grid: QuantileGrid) -> torch.Tensor:
    inside = grid.quantiles[:, :1] + 3 * torch.randn(len(grid), 9, generator=generator, dtype=torch.float64)
    return torch.cat([inside, grid.quantiles], dim=1)


def test_the_given_quantiles_come_back(generator: torch.Generator) -> None:
    grid = _draw(generator)
    assert torch.allclose(grid.quantile(LEVELS), grid.quantiles, atol=1e-12)
    assert torch.allclose(grid.cdf(grid.quantiles), LEVELS.expand(6, 4), atol=1e-12)


def test_the_slow_twin_gives_the_same_cdf(generator: torch.Generator) -> None:
    grid = _draw(generator)
    points = _points(generator, grid)
    for i in range(6):
        expected = [oracle.grid_cdf(grid.quantiles[i].tolist(), LEVELS.tolist(), x) for x in points[i].tolist()]
        assert grid.cdf(points)[i].tolist() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(grid.cdf(points), grid.cdf_below(points))


def test_quantile_and_cdf_are_inverse_everywhere(generator: torch.Generator) -> None:
    grid = _draw(generator)
    levels = torch.tensor([0.001, 0.05, 0.3, 0.79, 0.95, 0.9999], dtype=torch.float64)
    assert torch.allclose(grid.cdf(grid.quantile(levels)), levels.expand(6, 6), atol=1e-12)
    ends = grid.quantile(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert ends.tolist() == [[-math.inf, math.inf]] * 6


def test_the_density_is_the_slope_and_does_not_jump_into_the_tails(generator: torch.Generator) -> None:
    grid, step = _draw(generator), 1e-6
    points = _points(generator, grid)[:, :9]
    slope = (grid.cdf(points + step) - grid.cdf(points - step)) / (2 * step)
    assert torch.allclose(grid.log_density(points).exp(), slope, atol=1e-6)
    edge = grid.quantiles[:, :1]
    assert torch.allclose(grid.log_density(edge - 1e-12), grid.log_density(edge + 1e-12), atol=1e-6)
    last = grid.quantiles[:, -1:]
    assert torch.allclose(grid.log_density(last - 1e-12), grid.log_density(last + 1e-12), atol=1e-6)


def test_mean_and_score_agree_with_quadrature(generator: torch.Generator) -> None:
    grid = _draw(generator, 4)
    y = grid.quantiles.mean(dim=1) + torch.tensor([0.0, 1.0, -6.0, 7.0], dtype=torch.float64)  # two in the tails
    for i in range(4):
        row, at = grid.quantiles[i].tolist(), y[i].item()
        corners = sorted([*row, at])

        def cdf(x: float, row: list[float] = row) -> float:
            return oracle.grid_cdf(row, LEVELS.tolist(), x)

        parts = [corners[0] - 200, *corners, corners[-1] + 200]
        score = mean = 0.0
        for low, high in itertools.pairwise(parts):
            middle = (low + high) / 2
            score += integrate.quad(lambda x, after=middle > at: (cdf(x) - after) ** 2, low, high, limit=200)[0]
            zero = min(max(low, 0.0), high)  # E X is the integral of 1 - F above zero less that of F below
            mean += integrate.quad(lambda x: 1 - cdf(x), zero, high)[0] - integrate.quad(cdf, low, zero)[0]
        assert grid.crps(y)[i].item() == pytest.approx(score, rel=1e-6)
        assert grid.mean()[i].item() == pytest.approx(mean, rel=1e-5, abs=1e-6)


def test_the_slow_twin_gives_the_same_score(generator: torch.Generator) -> None:
    grid = _draw(generator, 1)
    y = grid.quantiles[:, 1] + 0.3

    def cdf(x: float) -> float:
        return oracle.grid_cdf(grid.quantiles[0].tolist(), LEVELS.tolist(), x)

    expected = oracle.crps(cdf, y.item(), y.item() - 100, y.item() + 100)
    assert grid.crps(y).item() == pytest.approx(expected, rel=1e-4)


def test_a_point_is_an_atom_whose_score_is_the_distance() -> None:
    point = QuantileGrid(torch.ones(3, 4, dtype=torch.float64), LEVELS)
    y = torch.tensor([-1.0, 1.0, 4.0], dtype=torch.float64)
    assert point.crps(y).tolist() == [2, 0, 3]
    assert point.mean().tolist() == [1, 1, 1]
    assert point.cdf(y).tolist() == [0, 1, 1]
    assert point.cdf_below(y).tolist() == [0, 0, 1]
    assert point.log_density(y).tolist() == [-math.inf, math.inf, -math.inf]
    assert point.quantile(torch.tensor([0.0, 0.01, 1.0], dtype=torch.float64)).tolist() == [[1, 1, 1]] * 3


def test_an_atom_inside_holds_the_levels_between() -> None:
    grid = QuantileGrid(torch.tensor([[0.0, 1.0, 1.0, 2.0]]).double(), LEVELS)
    y = torch.tensor([1.0], dtype=torch.float64)
    assert grid.cdf_below(y).item() == pytest.approx(0.25)
    assert grid.cdf(y).item() == pytest.approx(0.5)
    assert grid.log_density(y).item() == math.inf
    assert grid.quantile(torch.tensor([0.3, 0.4], dtype=torch.float64)).tolist() == [[1, 1]]


def test_the_order_of_crossing_quantiles_does_not_matter(generator: torch.Generator) -> None:
    grid = _draw(generator)
    mixed = QuantileGrid(grid.quantiles[:, [2, 0, 3, 1]], LEVELS)
    assert torch.equal(mixed.quantiles, grid.quantiles)


def test_gradients_reach_the_quantiles(generator: torch.Generator) -> None:
    quantiles = _draw(generator, 3).quantiles.clone().requires_grad_()
    y = quantiles.detach().mean(dim=1) + torch.tensor([0.0, -5.0, 5.0], dtype=torch.float64)
    levels = torch.tensor([0.02, 0.4, 0.97], dtype=torch.float64)

    def values(q: torch.Tensor) -> torch.Tensor:
        grid = QuantileGrid(q, LEVELS)
        parts = [grid.crps(y), grid.cdf(y), grid.log_density(y), grid.mean(), grid.quantile(levels).flatten()]
        return torch.cat(parts)

    assert torch.autograd.gradcheck(values, (quantiles,))


def test_gradients_at_an_atom_are_finite() -> None:
    quantiles = torch.ones(2, 4, dtype=torch.float64, requires_grad=True)
    grid = QuantileGrid(quantiles, LEVELS)
    y = torch.tensor([0.0, 1.0], dtype=torch.float64)
    (grid.crps(y).sum() + grid.cdf(y).sum() + grid.mean().sum()).backward()
    assert quantiles.grad is not None
    assert quantiles.grad.isfinite().all()


@pytest.mark.parametrize("levels", [[0.5], [0.5, 0.2], [0.0, 0.5], [0.5, 1.0], [0.5, 0.5]])
def test_impossible_levels_are_refused(levels: list[float]) -> None:
    with pytest.raises(ValueError, match="levels"):
        QuantileGrid(torch.zeros(2, len(levels)), torch.tensor(levels))
