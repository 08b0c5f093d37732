"""Conformal ranks and order statistics: whole products, the counting twin and what lies beyond the last value."""

import math

import pytest
import torch
from oracles import regression as oracle

from trueline.numerics import conformal_rank, order_statistic


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.2, 0.3, 1 / 3, 0.5, 0.7, 0.9, 0.99])
def test_the_rank_is_found_by_counting(alpha: float) -> None:
    for n in range(400):
        assert conformal_rank(n, alpha) == oracle.rank(n, alpha)


@pytest.mark.parametrize(("n", "alpha", "rank"), [(9, 0.1, 9), (8, 0.1, 9), (99, 0.01, 99), (2, 1 / 3, 2), (0, 0.5, 1)])
def test_a_product_that_is_whole_is_not_rounded_up(n: int, alpha: float, rank: int) -> None:
    assert conformal_rank(n, alpha) == rank


def test_large_samples_keep_whole_products_whole() -> None:
    for n in (999, 9_999, 99_999, 999_999):
        assert conformal_rank(n, 0.1) == (n + 1) * 9 // 10
        assert conformal_rank(n, 0.7) == (n + 1) * 3 // 10


def test_order_statistics_are_sorted_values(generator: torch.Generator) -> None:
    values = torch.randn(17, 3, generator=generator)
    ordered = values.sort(dim=0).values
    for rank in range(1, 18):
        assert torch.equal(order_statistic(values, rank), ordered[rank - 1])
    assert order_statistic(values, 18).tolist() == [math.inf] * 3
    assert order_statistic(values[:, 0], 18).item() == math.inf
    assert order_statistic(values[:0], 1).tolist() == [math.inf] * 3


@pytest.mark.parametrize(("n", "alpha"), [(-1, 0.1), (5, 0.0), (5, 1.0), (5, math.nan)])
def test_impossible_arguments_are_refused(n: int, alpha: float) -> None:
    with pytest.raises(ValueError, match="must"):
        conformal_rank(n, alpha)
    with pytest.raises(ValueError, match="rank must be at least 1"):
        order_statistic(torch.zeros(3), 0)
