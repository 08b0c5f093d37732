"""Terms on quantiles and intervals: closed forms, the slow twins, gradients that repair, and refusals."""

import pytest
import torch
from oracles import regression as oracle

from trueline.regression import (
    orthogonal_quantile_penalty,
    pinball_loss,
    quantile_coverage_penalty,
    truncated_distribution_penalty,
)

LEVELS = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)


def test_the_slow_twins_give_the_same_penalties(generator: torch.Generator) -> None:
    y = torch.randn(20, generator=generator, dtype=torch.float64)
    quantiles = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    rows = (y.tolist(), quantiles.tolist(), LEVELS.tolist())
    found = truncated_distribution_penalty(y, quantiles, LEVELS).item()
    assert found == pytest.approx(oracle.truncated_distribution_penalty(*rows))
    found = quantile_coverage_penalty(y, quantiles, LEVELS, sharpness=3.0).item()
    assert found == pytest.approx(oracle.quantile_coverage_penalty(*rows, 3.0))


def test_shares_are_counted_whatever_the_precision_of_the_model() -> None:
    y, level = torch.arange(20, dtype=torch.bfloat16), torch.tensor([0.95])
    assert truncated_distribution_penalty(y, torch.full((20, 1), 18.5, dtype=torch.bfloat16), level).item() == 0
    assert truncated_distribution_penalty(y, torch.full((20, 1), 17.5, dtype=torch.bfloat16), level).item() > 0
    many = torch.arange(100_000, dtype=torch.float64)
    exact = torch.full((100_000, 1), 30_000 - 0.5, dtype=torch.float64)
    assert truncated_distribution_penalty(many, exact, torch.tensor([0.3])).item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quantiles_with_the_right_share_cost_nothing(dtype: torch.dtype) -> None:
    y, levels = torch.arange(1.0, 1001, dtype=dtype), LEVELS.to(dtype)
    exact = (1000 * levels + 0.5).expand(1000, 3)
    assert truncated_distribution_penalty(y, exact, levels).item() == 0
    assert truncated_distribution_penalty(y, exact - 0.5, levels).item() == 0  # at an outcome, which counts as below
    assert quantile_coverage_penalty(y, exact, levels, sharpness=100.0).item() == pytest.approx(0, abs=1e-9)
    for wrong in (exact - 1, exact + 1):  # one sample off
        assert truncated_distribution_penalty(y, wrong, levels).item() > 0


def test_one_quantile_that_is_wrong_for_all_has_a_closed_form() -> None:
    """Below everything the share above is one; above everything it is none, and ``(1 - t)²/(t(1 - t))`` is left."""
    y, low, high = torch.zeros(50).double(), torch.full((50, 3), -2.0).double(), torch.full((50, 3), 2.0).double()
    assert truncated_distribution_penalty(y, low, LEVELS).item() == pytest.approx(2)
    assert truncated_distribution_penalty(y, high, LEVELS).item() == pytest.approx(2)
    assert quantile_coverage_penalty(y, low, LEVELS).item() == pytest.approx(0, abs=1e-12)
    expected = sum((1 - t) / t for t in LEVELS.tolist()) / 3
    assert quantile_coverage_penalty(y, high, LEVELS).item() == pytest.approx(expected)


def test_the_truncated_distribution_scales_with_the_unit(generator: torch.Generator) -> None:
    y = torch.randn(40, generator=generator, dtype=torch.float64)
    quantiles = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    found = truncated_distribution_penalty(1e3 * y + 7, 1e3 * quantiles + 7, LEVELS)
    assert found.item() == pytest.approx(1e3 * truncated_distribution_penalty(y, quantiles, LEVELS).item())


def test_gradients_are_right(generator: torch.Generator) -> None:
    y = torch.randn(30, generator=generator, dtype=torch.float64)
    quantiles = torch.randn(30, 3, generator=generator, dtype=torch.float64).requires_grad_()
    for term in (truncated_distribution_penalty, quantile_coverage_penalty):
        assert torch.autograd.gradcheck(lambda q, term=term: term(y, q, LEVELS), (quantiles,), eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("start", [-1.0, 1.0])
def test_descent_brings_quantiles_to_their_share(start: float, generator: torch.Generator) -> None:
    """The truncated distribution does it alone; the other pulls down with the pinball loss for the other side."""
    y = torch.randn(500, generator=generator, dtype=torch.float64)
    wanted = y.quantile(LEVELS)
    for term, weight in ((truncated_distribution_penalty, 0.0), (quantile_coverage_penalty, 1.0)):
        shift = torch.full((3,), start, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([shift], lr=0.05)
        for _ in range(70):
            optimiser.zero_grad()
            quantiles = (wanted + shift).expand(500, 3)
            (term(y, quantiles, LEVELS) + weight * pinball_loss(y, quantiles, LEVELS).mean()).backward()
            optimiser.step()
        share = (y[:, None] <= wanted + shift).double().mean(dim=0)
        assert torch.allclose(share, LEVELS, atol=0.03)


def test_lengths_that_go_with_coverage_are_penalised(generator: torch.Generator) -> None:
    y = torch.randn(2000, generator=generator)
    length = torch.rand(2000, generator=generator) * 4
    dependent = orthogonal_quantile_penalty(y, -length / 2, length / 2).item()
    centre = y + torch.randn(2000, generator=generator) * length  # held equally often, whatever the length
    free = orthogonal_quantile_penalty(y, centre - length / 2, centre + length / 2).item()
    assert dependent > 0.5 > 0.1 > free
    sharp = orthogonal_quantile_penalty(y, -length / 2, length / 2, sharpness=1e6).item()
    hits = (y.abs() <= length / 2).float()
    assert sharp == pytest.approx(abs(torch.corrcoef(torch.stack([length, hits]))[0, 1].item()), abs=1e-4)


def test_the_penalty_does_not_depend_on_the_unit(generator: torch.Generator) -> None:
    y, length = torch.randn(2, 50, generator=generator, dtype=torch.float64)
    length = length.exp()
    first = orthogonal_quantile_penalty(y, -length, length)
    second = orthogonal_quantile_penalty(1e4 * y + 3, 3 - 1e4 * length, 3 + 1e4 * length)
    assert second.item() == pytest.approx(first.item(), rel=1e-6)


def test_one_length_for_all_has_no_correlation_and_a_finite_gradient() -> None:
    y = torch.tensor([0.0, 3.0, 0.1])
    upper = torch.ones(3, requires_grad=True)
    penalty = orthogonal_quantile_penalty(y, -torch.ones(3), upper)
    assert penalty.item() == 0
    penalty.backward()
    assert upper.grad is not None
    assert upper.grad.isfinite().all()


def test_bad_input_is_refused() -> None:
    for term in (truncated_distribution_penalty, quantile_coverage_penalty):
        with pytest.raises(ValueError, match="none of them empty"):
            term(torch.zeros(0), torch.zeros(0, 3), torch.tensor([0.1, 0.5, 0.9]))
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            term(torch.zeros(2), torch.zeros(2, 1), torch.tensor([1.0]))
    with pytest.raises(ValueError, match="sharpness must be positive"):
        quantile_coverage_penalty(torch.zeros(2), torch.zeros(2, 1), torch.tensor([0.5]), sharpness=0)
    with pytest.raises(ValueError, match="B >= 2"):
        orthogonal_quantile_penalty(torch.zeros(1), torch.zeros(1), torch.ones(1))
