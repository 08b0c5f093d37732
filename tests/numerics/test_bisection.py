"""Roots by bisection: known roots, the ends, and bad brackets."""

import math

import pytest
import torch

from trueline.numerics import bisect_root


def test_every_element_finds_its_own_root() -> None:
    targets = torch.tensor([[0.5, 2.0], [8.0, 27.0]], dtype=torch.float64)
    root = bisect_root(lambda x: x**3 - targets, torch.zeros(2, 2).double(), torch.full((2, 2), 4.0).double())
    assert torch.allclose(root, targets ** (1 / 3), atol=1e-14, rtol=0)


def test_the_error_halves_with_every_step() -> None:
    low, high = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    for steps in (1, 5, 20):
        root = bisect_root(lambda x: x - 1 / math.pi, low, high, steps=steps)
        assert abs(root.item() - 1 / math.pi) <= 2.0 ** -(steps + 1)


@pytest.mark.parametrize(("sign", "end"), [(1.0, 0.0), (-1.0, 1.0)])
def test_without_a_change_of_sign_it_goes_to_the_end(sign: float, end: float) -> None:
    root = bisect_root(lambda x: torch.full_like(x, sign), torch.tensor(0.0).double(), torch.tensor(1.0).double())
    assert abs(root.item() - end) < 1e-14


def test_a_flat_zero_gives_its_lower_end() -> None:
    root = bisect_root(
        lambda x: (x - 0.25).clamp_max(0), torch.tensor(0.0).double(), torch.tensor(1.0).double(), steps=50
    )
    assert root.item() == pytest.approx(0.25, abs=1e-14)


def test_bad_arguments_are_refused() -> None:
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    with pytest.raises(ValueError, match="low <= high"):
        bisect_root(lambda x: x, one, zero)
    with pytest.raises(ValueError, match="low <= high"):
        bisect_root(lambda x: x, torch.tensor(math.nan), one)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        bisect_root(lambda x: x, zero, one, steps=0)
    with pytest.raises(ValueError, match="returned NaN"):
        bisect_root(lambda x: x * math.nan, zero, one)
