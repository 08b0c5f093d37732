"""Platt scaling: closed forms, the paper's targets, scikit-learn and the slow twin."""

import math

import numpy as np
import pytest
import torch
from oracles import recalibration_maps as oracle
from sklearn.linear_model import LogisticRegression

from trueline.calibrate import PlattScaling, TemperatureScaling
from trueline.contracts import check_calibrator


def _draw(generator: torch.Generator, samples: int = 200, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 3 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    honest = logits / 2 + torch.linspace(-0.4, 0.4, classes)
    return torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1), logits


def test_it_keeps_the_contract() -> None:
    check_calibrator(PlattScaling)


def test_two_groups_get_the_paper_s_targets_as_means() -> None:
    # Two log-odds, two numbers: the means of the targets are reached.
    log_odds = torch.tensor([-2.0] * 40 + [2.0] * 40)
    labels = torch.tensor([0] * 38 + [1] * 2 + [0] * 10 + [1] * 30)
    high, low = 33 / 34, 1 / 50  # (32 + 1)/(32 + 2) for 32 hits, 1/(48 + 2) for 48 misses
    probs = PlattScaling().fit(labels, logits=log_odds).predict_proba(logits=log_odds)[::40, 1].tolist()
    assert probs == pytest.approx([(2 * high + 38 * low) / 40, (30 * high + 10 * low) / 40], abs=1e-6)


def test_symmetric_data_of_two_classes_are_temperature_scaling(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    labels, logits = torch.cat([labels, 1 - labels]), torch.cat([logits, logits.flip(1)])
    platt = PlattScaling(smoothing=False).fit(labels, logits=logits)
    assert platt.intercept_.item() == pytest.approx(0, abs=1e-12)
    assert 1 / platt.slope_.item() == pytest.approx(TemperatureScaling().fit(labels, logits=logits).temperature_)
    far = torch.tensor([[0.0, 900.0], [900.0, 0.0]], dtype=torch.float64)  # both ends keep their digits
    assert torch.allclose(
        platt.transform(logits=far), TemperatureScaling().fit(labels, logits=logits).transform(logits=far)
    )


@pytest.mark.parametrize("classes", [2, 4])
def test_every_column_is_a_logistic_regression(generator: torch.Generator, classes: int) -> None:
    labels, logits = _draw(generator, 300, classes)
    weight = torch.rand(300, generator=generator, dtype=torch.float64) + 0.1
    platt = PlattScaling(smoothing=False).fit(labels, logits=logits, weight=weight)
    probs = logits.softmax(dim=1)
    for column, k in enumerate([1] if classes == 2 else range(classes)):
        score = (probs[:, k] / (1 - probs[:, k])).log()[:, None].numpy()
        peer = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000)
        peer.fit(score, (labels == k).numpy(), sample_weight=weight.numpy())
        assert platt.slope_[column].item() == pytest.approx(peer.coef_[0, 0], rel=1e-4)
        assert platt.intercept_[column].item() == pytest.approx(peer.intercept_[0], rel=1e-4, abs=1e-5)


def test_the_slow_twin_has_no_slope_there(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 60)
    platt = PlattScaling().fit(labels, logits=logits)
    features = [[z, 1.0] for z in logits.diff(dim=1).flatten().tolist()]
    targets = oracle.platt_targets(labels.tolist())
    at = [platt.slope_.item(), platt.intercept_.item()]
    assert max(map(abs, oracle.gradient(lambda p: oracle.logistic_loss(features, targets, p), at))) < 1e-8


def test_separable_scores_stay_finite() -> None:
    log_odds = torch.tensor([-3.0] * 20 + [3.0] * 20)
    labels = torch.tensor([0] * 20 + [1] * 20)
    smoothed = PlattScaling().fit(labels, logits=log_odds)
    assert smoothed.predict_proba(logits=log_odds)[-1, 1].item() == pytest.approx(21 / 22, abs=1e-6)
    plain = PlattScaling(smoothing=False).fit(labels, logits=log_odds)
    assert math.isfinite(plain.slope_.item())
    assert plain.predict_proba(logits=log_odds)[-1, 1].item() > 1 - 1e-6


def test_rows_of_many_classes_are_divided_by_their_sum(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 300, 4)
    platt = PlattScaling().fit(labels, logits=logits)
    probs = logits.softmax(dim=1)
    apart = ((probs / (1 - probs)).log() * platt.slope_ + platt.intercept_).sigmoid()
    assert torch.allclose(platt.predict_proba(logits=logits), apart / apart.sum(dim=1, keepdim=True), atol=1e-12)


def test_few_samples_are_warned_of(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 19)
    with pytest.warns(UserWarning, match="PlattScaling is fitted to 19 samples, fewer than 10 for each of 2 numbers"):
        PlattScaling().fit(labels, logits=logits)
