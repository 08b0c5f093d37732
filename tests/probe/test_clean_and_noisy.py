"""Means of two groups and their difference: SciPy's Welch interval, groups that are small or missing."""

import math

import pytest
import torch

from trueline.probe._clean_and_noisy import clean_and_noisy, mean_if_any


def drawn(count: int) -> torch.Tensor:
    return torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_the_means_are_those_of_the_groups() -> None:
    found = clean_and_noisy(torch.tensor([1.0, 2.0, 10.0, 3.0, 20.0]), torch.tensor([False, False, True, False, True]))
    assert found.clean is not None
    assert found.noisy is not None
    assert found.difference is not None
    assert (found.clean.value, found.noisy.value, found.difference.value) == (2, 15, 13)
    assert found.clean == mean_if_any(torch.tensor([1.0, 2.0, 3.0]))


def test_the_difference_has_welchs_interval() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = drawn(60)
    values[40:] *= 5
    found = clean_and_noisy(values, torch.arange(60) >= 40).difference
    assert found is not None
    theirs = stats.ttest_ind(values[40:].numpy(), values[:40].numpy(), equal_var=False).confidence_interval(0.95)
    # Ours takes the whole part of the degrees of freedom and is the wider of the two.
    assert found.low == pytest.approx(theirs.low, rel=0.01)
    assert found.high == pytest.approx(theirs.high, rel=0.01)
    assert found.low <= theirs.low
    assert found.high >= theirs.high


def test_groups_of_equal_spread_have_the_degrees_of_freedom_of_both() -> None:
    """Two groups of n with the same variance: 2(n - 1)."""
    spread = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    found = clean_and_noisy(torch.cat([spread, spread + 5]), torch.arange(6) >= 3).difference
    assert found is not None
    half = 2.7764451052 * math.sqrt(2 / 3)  # of 4 degrees of freedom
    assert found.high - found.value == pytest.approx(half, rel=1e-9)


def test_groups_that_are_small_or_missing() -> None:
    values = torch.tensor([1.0, 2.0, 4.0])
    alone = clean_and_noisy(values, torch.zeros(3, dtype=torch.bool))
    assert alone.noisy is None
    assert alone.difference is None
    assert clean_and_noisy(values, torch.ones(3, dtype=torch.bool)).clean is None
    single = clean_and_noisy(values, torch.tensor([False, False, True])).difference
    assert single is not None
    assert (single.value, single.low, single.high) == (2.5, -math.inf, math.inf)
    same = clean_and_noisy(torch.tensor([1.0, 1.0, 3.0, 3.0]), torch.arange(4) >= 2).difference
    assert same is not None
    assert (same.low, same.high) == (2, 2)
