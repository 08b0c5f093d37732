"""Logistic regression of columns: large scores, of which the start is sure and often wrong, have the same minimum."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from trueline.calibrate import BetaCalibration, PlattScaling, QuadraticScaling
from trueline.calibrate._logistic_columns import fit_columns
from trueline.measure import log_loss


def _draw(classes: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(400, classes, generator=generator, dtype=torch.float64)
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1), logits


@pytest.mark.parametrize("make", [lambda: PlattScaling(smoothing=False), QuadraticScaling])
@pytest.mark.parametrize("factor", [1e2, 1e4, 1e7])
def test_multiplied_log_odds_give_the_same_map(make, factor: float) -> None:
    # Coefficients absorb the factor exactly.
    labels, logits = _draw()
    plain = make().fit(labels, logits=logits).transform(logits=logits)
    large = make().fit(labels, logits=factor * logits).transform(logits=factor * logits)
    assert torch.allclose(large, plain, atol=1e-6)


@pytest.mark.parametrize("factor", [400.0, 4000.0])
def test_beta_of_large_log_odds_is_no_worse_than_one_slope(factor: float) -> None:
    labels, logits = _draw()
    large = (factor * (logits[:, 1] - logits[:, 0])).clamp(-1e4, 1e4)
    platt = PlattScaling(smoothing=False).fit(labels, logits=large).transform(logits=large)
    beta = BetaCalibration().fit(labels, logits=large).transform(logits=large)
    assert log_loss(labels, logits=beta).mean() <= log_loss(labels, logits=platt).mean() + 1e-9
    assert log_loss(labels, logits=beta).mean() < 0.6


def test_a_start_that_is_sure_and_mostly_right_is_left_as_well() -> None:
    # Its loss is below that of the base rate, but nothing bends there: every score is far from zero.
    scores = torch.tensor([-2e3, 2e3, -2e3, 2e3], dtype=torch.float64).repeat_interleave(
        torch.tensor([4999, 4999, 1, 1])
    )
    labels = torch.tensor([0, 1, 1, 0]).repeat_interleave(torch.tensor([4999, 4999, 1, 1]))
    fitted = PlattScaling(smoothing=False).fit(labels, logits=scores).predict_proba(logits=scores)[:, 1]
    assert torch.allclose(fitted[[0, 5000]], torch.tensor([1 / 5000, 4999 / 5000]).double(), rtol=1e-5)


def test_every_column_is_as_good_as_its_base_rate_and_its_temperature() -> None:
    labels, logits = _draw(3)
    hits = torch.nn.functional.one_hot(labels, 3).double()
    z = 400 * logits
    for features, start in (
        (lambda z: [z, torch.ones_like(z)], [1.0, 0.0]),
        (lambda z: [z, z.square(), torch.ones_like(z)], [1.0, 0.0, 0.0]),
    ):
        coefficients, value = fit_columns(z, hits, None, features, start)
        logit = sum(f * c for f, c in zip(features(z), coefficients.unbind(1), strict=True))
        loss = (softplus(logit) - hits * logit).mean(dim=0)
        assert torch.allclose(value, loss, atol=1e-7)
        rate = hits.mean(dim=0)
        assert (loss <= -(rate.xlogy(rate) + (1 - rate).xlogy(1 - rate))).all()
        for slope in torch.logspace(-6, 0, 25):
            assert (loss <= (softplus(slope * z) - hits * slope * z).mean(dim=0) + 1e-9).all()
