"""Conformal p-values: closed forms, exact uniformity, the slow twin and an independent package."""

import math

import pytest
import torch
from oracles import conformal as oracle

from trueline.conformal import conformal_p_values, conformal_quantile


def test_the_slow_twin_finds_the_same_values_with_ties(generator: torch.Generator) -> None:
    calibration = torch.randint(5, (20,), generator=generator).double()
    scores = torch.randint(-1, 7, (4, 6), generator=generator).double()
    draws = torch.rand(4, 6, generator=generator, dtype=torch.float64)
    plain, smoothed = conformal_p_values(calibration, scores), conformal_p_values(calibration, scores, draws=draws)
    for i in range(4):
        for k in range(6):
            s, u = scores[i, k].item(), draws[i, k].item()
            assert plain[i, k].item() == oracle.p_value(calibration.tolist(), s)
            assert smoothed[i, k].item() == pytest.approx(oracle.p_value(calibration.tolist(), s, u), rel=1e-15)


def test_a_score_among_distinct_ones_has_every_value_once() -> None:
    scores = torch.randperm(20, generator=torch.Generator().manual_seed(0)).double()
    values = [conformal_p_values(scores[torch.arange(20) != i], scores[i]).item() for i in range(20)]
    assert sorted(values) == [k / 20 for k in range(1, 21)]


def test_smoothed_values_of_ties_are_uniform() -> None:
    ties = torch.ones(9)
    draws = torch.tensor([0.1, 0.5, 1.0])
    assert conformal_p_values(ties, torch.ones(3), draws=draws).tolist() == pytest.approx([0.1, 0.5, 1.0])
    assert conformal_p_values(ties, torch.ones(())).item() == 1


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_values_above_alpha_are_scores_up_to_the_quantile(alpha: float) -> None:
    generator = torch.Generator().manual_seed(1)
    for n in (19, 20, 39, 57):
        calibration = torch.randint(15, (n,), generator=generator).double()
        scores = torch.arange(-1.0, 17.0)
        kept = scores <= conformal_quantile(calibration, alpha)
        assert torch.equal(conformal_p_values(calibration, scores) > alpha, kept)


def test_infinite_and_no_scores() -> None:
    calibration = torch.tensor([math.inf, 1.0, 2.0])
    assert conformal_p_values(calibration, torch.tensor([math.inf, -math.inf])).tolist() == [0.5, 1]
    assert conformal_p_values(torch.empty(0), torch.tensor([3.0])).tolist() == [1]
    assert conformal_p_values(calibration, torch.empty(0)).shape == (0,)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        conformal_p_values(torch.tensor([math.nan]), torch.ones(1))
    with pytest.raises(ValueError, match="NaN"):
        conformal_p_values(torch.ones(1), torch.tensor([math.nan]))
    with pytest.raises(ValueError, match="draws must be uniform"):
        conformal_p_values(torch.ones(1), torch.ones(1), draws=torch.tensor([2.0]))
    with pytest.raises(TypeError):
        conformal_p_values(torch.ones(1, dtype=torch.int64), torch.ones(1))


def test_they_agree_with_an_independent_package(generator: torch.Generator) -> None:
    crepes = pytest.importorskip("crepes", reason="needs crepes, of the dev extra")
    calibration = torch.randn(50, generator=generator, dtype=torch.float64)
    scores = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    peer = crepes.ConformalClassifier().fit(calibration.numpy())
    expected = torch.tensor(peer.predict_p(scores.numpy(), smoothing=False))
    assert torch.allclose(conformal_p_values(calibration, scores), expected, atol=1e-12)
