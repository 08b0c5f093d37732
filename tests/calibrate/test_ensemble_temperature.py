"""Ensemble temperature scaling: the simplex, optimality, the slow twin, and the order of the classes."""

import math

import pytest
import torch
from oracles import recalibration_maps as oracle

from trueline.calibrate import EnsembleTemperatureScaling, TemperatureScaling
from trueline.contracts import check_calibrator
from trueline.measure import log_loss


def _draw(generator: torch.Generator, samples: int = 300, noise: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Over-confident logits, and labels of which a share is drawn uniformly."""
    logits = 3 * torch.randn(samples, 4, generator=generator, dtype=torch.float64)
    honest = (1 - noise) * (logits / 1.5).softmax(dim=1) + noise / 4
    return torch.multinomial(honest, 1, generator=generator).squeeze(1), logits


def test_it_keeps_the_contract() -> None:
    check_calibrator(EnsembleTemperatureScaling)


def test_weights_are_a_distribution_and_the_best_one(generator: torch.Generator) -> None:
    for noise in (0.0, 0.3, 0.8):
        labels, logits = _draw(generator, 100, noise)
        scaling = EnsembleTemperatureScaling().fit(labels, logits=logits)
        weights = scaling.weights_.tolist()
        assert min(weights) >= 0
        assert math.fsum(weights) == pytest.approx(1, abs=1e-15)
        rows = [oracle.log_softmax(row) for row in logits.tolist()]
        best = oracle.mixture_loss(rows, labels.tolist(), scaling.temperature_, weights)
        grid = [(i / 20, j / 20, (20 - i - j) / 20) for i in range(21) for j in range(21 - i)]
        for step in (1.0, 0.01):  # far away, and right next to it
            others = [[(1 - step) * w + step * g for w, g in zip(weights, place, strict=True)] for place in grid]
            losses = [oracle.mixture_loss(rows, labels.tolist(), scaling.temperature_, other) for other in others]
            assert best <= min(losses) + 1e-12


def test_the_map_is_the_mixture(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    scaling = EnsembleTemperatureScaling().fit(labels, logits=logits)
    parts = [(logits / scaling.temperature_).softmax(dim=1), logits.softmax(dim=1), torch.full_like(logits, 0.25)]
    expected = sum(w * part for w, part in zip(scaling.weights_, parts, strict=True))
    assert torch.allclose(scaling.predict_proba(logits=logits), expected, atol=1e-12)


def test_label_noise_is_given_to_the_uniform_distribution(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 5000, 0.3)
    assert EnsembleTemperatureScaling().fit(labels, logits=3 * logits).weights_[2].item() > 0.1


def test_it_is_never_worse_than_temperature_scaling(generator: torch.Generator) -> None:
    for noise in (0.0, 0.5, 0.8):
        labels, logits = _draw(generator, 100, noise)
        one, many = (
            log_loss(labels, logits=kind().fit(labels, logits=logits).transform(logits=logits)).mean()
            for kind in (TemperatureScaling, EnsembleTemperatureScaling)
        )
        assert many <= one + 1e-12


def test_predictions_that_are_all_wrong_keep_their_order() -> None:
    logits = torch.eye(4).repeat(20, 1)
    labels = (logits.argmax(dim=1) + 1) % 4
    with pytest.warns(UserWarning, match="no minimum"):
        scaling = EnsembleTemperatureScaling().fit(labels, logits=logits)
    assert scaling.weights_.tolist() == [1, 0, 0]
    assert torch.equal(scaling.transform(logits=logits.double()).argmax(dim=1), logits.argmax(dim=1))


def test_saturated_mistakes_cost_no_more_than_their_share() -> None:
    # Nine of ten predictions with all their mass on one class are right.
    logits = torch.zeros(100, 5)
    logits[:, 0] = 1e4
    labels = torch.tensor([0] * 90 + [1] * 10)
    probs = EnsembleTemperatureScaling().fit(labels, logits=logits).predict_proba(logits=logits)
    assert probs[0].tolist() == pytest.approx([0.9, 0.025, 0.025, 0.025, 0.025], abs=1e-6)


def test_few_samples_are_warned_of(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 39)
    with pytest.warns(UserWarning, match="39 samples, fewer than 10 for each of 4 numbers"):
        EnsembleTemperatureScaling().fit(labels, logits=logits)
