"""Deviation from the chord by sampling: closed forms, the exact value where there is one, and the battery."""

import math

import pytest
import torch
from torch import Tensor, nn

from trueline.contracts import check_probe
from trueline.models import MLP
from trueline.probe._deviation_by_quadrature import DeviationByQuadrature, deviation_by_quadrature
from trueline.probe._trace_path import trace_segment


class Polynomial(nn.Module):
    """Squares and cubes of its only input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x**2, x**3], dim=1)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_polynomials_of_degree_three_are_integrated_exactly() -> None:
    """``∫_0^2 |x² - 2x| = 4/3`` and ``∫_0^2 |x³ - 4x| = 4``."""
    for points in (5, 9, 257):
        found = deviation_by_quadrature(
            Polynomial(), torch.zeros(1, 1).double(), torch.full((1, 1), 2.0).double(), points=points
        )
        torch.testing.assert_close(found.absolute_deviation, torch.tensor([[0, 4 / 3, 4]]).double())
        assert found.error.max() < 1e-12
        assert found.length.item() == 2


def test_it_tends_to_the_exact_value_of_a_piecewise_linear_network() -> None:
    torch.manual_seed(0)
    model = MLP((6,), 3, hidden=(24, 24)).double()
    start, end = drawn(3, 6), drawn(3, 6, seed=1)
    exact = trace_segment(model, start, end).absolute_deviation
    misses = [
        (deviation_by_quadrature(model, start, end, points=points).absolute_deviation - exact).abs().max().item()
        for points in (17, 257, 4097)
    ]
    assert misses[0] > 10 * misses[1] > 100 * misses[2]
    assert misses[2] < 1e-5 * exact.max()


def test_the_error_is_of_the_size_that_is_said() -> None:
    model = nn.Sequential(nn.Linear(4, 30), nn.Tanh(), nn.Linear(30, 2)).double()
    start, end = 3 * drawn(3, 4), 3 * drawn(3, 4, seed=1)
    found = deviation_by_quadrature(model, start, end, points=33)
    true = deviation_by_quadrature(model, start, end, points=4097).absolute_deviation
    assert ((found.absolute_deviation - true).abs() <= 2 * found.error + 1e-9).all()


def test_a_segment_without_length() -> None:
    found = deviation_by_quadrature(Polynomial(), torch.ones(2, 1), torch.ones(2, 1))
    assert found.absolute_deviation.tolist() == [[0] * 3] * 2
    assert found.mean_deviation.value == 0


def test_the_battery() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(), nn.Linear(8, 2))

    def to_the_centre(model: nn.Module, inputs: Tensor, *, chunk_size: int | None = None) -> DeviationByQuadrature:
        return deviation_by_quadrature(model, inputs, torch.full_like(inputs, 0.1), points=17, chunk_size=chunk_size)

    check_probe(to_the_centre, model.double(), drawn(5, 3))


@pytest.mark.parametrize("points", [1, 3, 4, 7, 256])
def test_other_numbers_of_points_are_refused(points: int) -> None:
    with pytest.raises(ValueError, match=r"4·k \+ 1"):
        deviation_by_quadrature(Polynomial(), torch.zeros(1, 1), torch.ones(1, 1), points=points)


def test_what_is_not_finite_is_refused() -> None:
    zero, huge = torch.zeros(1, 1), torch.full((1, 1), 1e30)
    with pytest.raises(ValueError, match="inputs must be finite"):
        deviation_by_quadrature(Polynomial(), zero, torch.full((1, 1), math.inf))
    with pytest.raises(ValueError, match="finite"):
        deviation_by_quadrature(Polynomial(), zero, huge)
