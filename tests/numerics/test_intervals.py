"""Wilson intervals: the equation that defines them, an independent package, and the ends."""

import math

import pytest
import torch
from scipy.stats import binomtest

from trueline.numerics import wilson_interval


def test_both_ends_solve_the_score_equation() -> None:
    rate, n = torch.tensor([0.1, 0.5, 0.93]).double(), torch.tensor([10.0, 1.0, 55.5]).double()
    for end in wilson_interval(rate, n, level=0.9):
        score = (rate - end).abs() / (end * (1 - end) / n).sqrt()
        assert torch.allclose(score, torch.full_like(score, 1.6448536269514722), rtol=1e-9)


@pytest.mark.parametrize("hits", range(8))
def test_it_agrees_with_scipy(hits: int) -> None:
    expected = binomtest(hits, 7).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval(torch.tensor(hits / 7, dtype=torch.float64), torch.tensor(7.0))
    assert (low.item(), high.item()) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_rates_of_zero_and_one_touch_their_ends_exactly() -> None:
    low, high = wilson_interval(torch.tensor([0.0, 1.0]), torch.tensor([3.0, 3.0]))
    assert low[0] == 0
    assert high[1] == 1
    assert 0 < high[0] < 1
    assert 0 < low[1] < 1


def test_without_trials_nothing_is_known() -> None:
    low, high = wilson_interval(torch.tensor([math.nan]), torch.tensor([0.0]))
    assert (low.item(), high.item()) == (0, 1)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_outside_its_range_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson_interval(torch.tensor(0.5), torch.tensor(4.0), level=level)
