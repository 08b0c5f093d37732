"""The conformal quantile: order statistics, the infinity rule, weights, and the slow twin."""

import math

import pytest
import torch
from oracles import conformal as oracle

from trueline.conformal import conformal_quantile


def test_nine_scores_reach_their_largest_and_eight_do_not() -> None:
    assert conformal_quantile(torch.arange(9.0), 0.1).item() == 8
    with pytest.warns(UserWarning, match="too few for alpha = 0.1, only 8.*use at least 9"):
        assert conformal_quantile(torch.arange(8.0), 0.1).item() == math.inf


def test_no_scores_give_infinity() -> None:
    with pytest.warns(UserWarning, match="only 0"):
        assert conformal_quantile(torch.empty(0), 0.5).item() == math.inf


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.2, 0.3, 0.7, 0.9])
def test_whole_products_do_not_round_up(alpha: float) -> None:
    for n in (99, 199, 999):
        expected = round((n + 1) * (1 - alpha)) - 1
        assert conformal_quantile(torch.arange(float(n)), alpha).item() == expected


def test_one_score() -> None:
    assert conformal_quantile(torch.tensor([3.0]), 0.5).item() == 3


def test_infinite_scores_are_scores() -> None:
    scores = torch.tensor([math.inf, 0.0, -math.inf])
    assert conformal_quantile(scores, 0.5).item() == 0
    assert conformal_quantile(scores, 0.3).item() == math.inf


def test_equal_weights_are_none() -> None:
    scores = torch.randn(50, generator=torch.Generator().manual_seed(0))
    for alpha in (0.05, 0.1, 0.5):
        plain = conformal_quantile(scores, alpha)
        weighted = conformal_quantile(
            scores, alpha, weight=torch.full((50,), 2.0), test_weight=torch.tensor([2.0, 2.0])
        )
        assert weighted.tolist() == [plain.item()] * 2


def test_the_slow_twin_finds_the_same_quantiles(generator: torch.Generator) -> None:
    scores = torch.randint(6, (30,), generator=generator).double()
    weight = torch.rand(30, generator=generator, dtype=torch.float64) * (torch.arange(30) % 3 > 0)
    test_weight = torch.tensor([0.0, 0.3, 1.0, 5.0, 500.0], dtype=torch.float64)
    for alpha in (0.05, 0.3, 0.8):
        got = conformal_quantile(scores, alpha, weight=weight, test_weight=test_weight)
        expected = [oracle.quantile(scores.tolist(), alpha, weight.tolist(), w) for w in test_weight.tolist()]
        assert got.tolist() == expected
        assert conformal_quantile(scores, alpha).item() == oracle.quantile(scores.tolist(), alpha)


def test_a_weight_of_zero_is_an_absent_score() -> None:
    scores = torch.tensor([1.0, 2.0, 3.0, 9.0])
    weight = torch.tensor([1.0, 1.0, 1.0, 0.0])
    got = conformal_quantile(scores, 0.25, weight=weight, test_weight=torch.tensor(1.0))
    assert got.item() == conformal_quantile(scores[:3], 0.25).item() == 3


def test_without_any_mass_nothing_is_known() -> None:
    got = conformal_quantile(torch.arange(3.0), 0.2, weight=torch.zeros(3), test_weight=torch.zeros(2))
    assert got.tolist() == [math.inf, math.inf]


def test_bad_input_is_refused() -> None:
    scores = torch.arange(9.0)
    with pytest.raises(ValueError, match="alpha must lie"):
        conformal_quantile(scores, 90)
    with pytest.raises(ValueError, match="NaN"):
        conformal_quantile(scores * math.nan, 0.1)
    with pytest.raises(ValueError, match="weight must be"):
        conformal_quantile(scores, 0.1, weight=-scores)
    with pytest.raises(ValueError, match="test_weight"):
        conformal_quantile(scores, 0.1, test_weight=torch.tensor([math.inf]))
    with pytest.raises(TypeError):
        conformal_quantile(torch.arange(9), 0.1)
