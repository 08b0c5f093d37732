"""Scores a sample: the pinball loss by hand, its minimum, and its tie to the continuous ranked probability score."""

import math

import pytest
import torch
from sklearn.metrics import mean_pinball_loss

from trueline.regression import Gaussian, crps, negative_log_density, pinball_loss


def test_the_pinball_loss_agrees_with_scikit_learn(generator: torch.Generator) -> None:
    y, levels = torch.randn(20, generator=generator).double(), torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    quantiles = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    peer = [mean_pinball_loss(y, quantiles[:, i], alpha=level) for i, level in enumerate(levels.tolist())]
    assert pinball_loss(y, quantiles, levels).mean().item() == pytest.approx(sum(peer) / 3)


def test_the_sample_quantile_has_the_least_pinball_loss(generator: torch.Generator) -> None:
    y, level = torch.randn(101, generator=generator, dtype=torch.float64), torch.tensor([0.3], dtype=torch.float64)
    best = y.sort().values[30]
    losses = [pinball_loss(y, q.expand(101, 1), level).mean().item() for q in (best, best - 0.1, best + 0.1)]
    assert losses[0] < min(losses[1:])


def test_over_many_levels_twice_the_pinball_loss_is_the_score() -> None:
    standard, y = (
        Gaussian(torch.zeros(4).double(), torch.ones(4).double()),
        torch.tensor([-2.0, 0.0, 0.3, 3.0]).double(),
    )
    levels = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    assert torch.allclose(2 * pinball_loss(y, standard.quantile(levels), levels), crps(standard, y), rtol=1e-4)


def test_the_true_law_has_the_best_scores(generator: torch.Generator) -> None:
    y, zero, one = torch.randn(3000, generator=generator), torch.zeros(3000), torch.ones(3000)
    for score in (crps, negative_log_density):
        truth = score(Gaussian(zero, one), y).mean()
        for location, scale in ((0.3, 1.0), (0.0, 0.7), (0.0, 1.5)):
            assert score(Gaussian(zero + location, scale * one), y).mean() > truth


def test_the_log_score_depends_on_the_unit_as_it_should() -> None:
    first = negative_log_density(Gaussian(torch.zeros(1), torch.ones(1)), torch.zeros(1))
    second = negative_log_density(Gaussian(torch.zeros(1), torch.full((1,), 10.0)), torch.zeros(1))
    assert (second - first).item() == pytest.approx(math.log(10), rel=1e-6)


def test_bad_input_is_refused() -> None:
    with pytest.raises((ValueError, TypeError)):
        pinball_loss(torch.zeros(2), torch.zeros(3, 1), torch.tensor([0.5]))
    with pytest.raises(ValueError, match="levels must lie strictly between 0 and 1"):
        pinball_loss(torch.zeros(2), torch.zeros(2, 1), torch.tensor([1.0]))
    with pytest.raises(ValueError, match="NaN"):
        crps(Gaussian(torch.zeros(1), torch.ones(1)), torch.tensor([math.nan]))
