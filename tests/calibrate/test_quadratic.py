"""Quadratic scaling: the normal case it is right for, its limit, scikit-learn and the slow twin."""

import numpy as np
import pytest
import torch
from oracles import recalibration_maps as oracle
from sklearn.linear_model import LogisticRegression

from trueline.calibrate import PlattScaling, QuadraticScaling
from trueline.contracts import check_calibrator


def _draw(generator: torch.Generator, samples: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores N(1, 2²) in class 1 and N(-1, 1) in class 0."""
    labels = torch.randint(2, (samples,), generator=generator)
    noise = torch.randn(samples, generator=generator, dtype=torch.float64)
    return labels, torch.where(labels == 1, 1 + 2 * noise, -1 + noise)


def test_it_keeps_the_contract() -> None:
    check_calibrator(QuadraticScaling)


def test_three_groups_get_their_frequencies() -> None:
    log_odds = torch.tensor([-1.0, 0.0, 1.0]).repeat_interleave(40)
    labels = torch.tensor([0] * 36 + [1] * 4 + [0] * 20 + [1] * 20 + [0] * 30 + [1] * 10)
    fitted = QuadraticScaling().fit(labels, logits=log_odds).predict_proba(logits=log_odds)[::40, 1].tolist()
    assert fitted == pytest.approx([0.1, 0.5, 0.25], abs=1e-6)  # not increasing, and rightly so


def test_normal_scores_of_unequal_variance_have_a_closed_form(generator: torch.Generator) -> None:
    # Log-odds: -(x - 1)²/8 + (x + 1)²/2 - ln 2 = 0.375 x² + 1.25 x + 0.375 - ln 2.
    labels, scores = _draw(generator, 50_000)
    quadratic = QuadraticScaling().fit(labels, logits=scores)
    got = [v.item() for v in (quadratic.curvature_, quadratic.slope_, quadratic.intercept_)]
    assert got == pytest.approx([0.375, 1.25, 0.375 - np.log(2)], abs=0.06)


def test_scores_without_curvature_are_platt_scaling(generator: torch.Generator) -> None:
    labels, scores = _draw(generator)
    pairs = scores.sign() * 2  # two distinct scores leave the curvature open
    quadratic = QuadraticScaling().fit(labels, logits=pairs).predict_proba(logits=pairs)
    assert torch.allclose(
        quadratic, PlattScaling(smoothing=False).fit(labels, logits=pairs).predict_proba(logits=pairs)
    )


def test_it_is_logistic_regression_on_score_and_square(generator: torch.Generator) -> None:
    labels, scores = _draw(generator)
    weight = torch.rand(300, generator=generator, dtype=torch.float64) + 0.1
    quadratic = QuadraticScaling().fit(labels, logits=scores, weight=weight)
    features = torch.stack([scores, scores.square()], dim=1)
    peer = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000)
    peer.fit(features.numpy(), labels.numpy(), sample_weight=weight.numpy())
    got = [quadratic.slope_.item(), quadratic.curvature_.item(), quadratic.intercept_.item()]
    assert got == pytest.approx([*peer.coef_[0], peer.intercept_[0]], rel=1e-3, abs=1e-5)
    rows = [[s, s * s, 1.0] for s in scores.tolist()]
    slopes = oracle.gradient(lambda p: oracle.logistic_loss(rows, labels.tolist(), p, weight.tolist()), got)
    assert max(map(abs, slopes)) < 1e-7


def test_few_samples_are_warned_of(generator: torch.Generator) -> None:
    labels, scores = _draw(generator, 29)
    with pytest.warns(UserWarning, match="29 samples, fewer than 10 for each of 3 numbers"):
        QuadraticScaling().fit(labels, logits=scores)
