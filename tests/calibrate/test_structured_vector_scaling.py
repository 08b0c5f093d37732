"""Structured vector scaling: its two limits, the slow twin's gradient, and its place between other maps."""

import numpy as np
import pytest
import torch
from oracles import recalibration_maps as oracle

from trueline.calibrate import StructuredVectorScaling, TemperatureScaling, VectorScaling
from trueline.contracts import check_calibrator
from trueline.measure import log_loss


def _draw(generator: torch.Generator, samples: int = 300, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    honest = logits * torch.linspace(0.4, 0.9, classes) + torch.linspace(-0.5, 0.5, classes)
    return torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1), logits


def test_it_keeps_the_contract() -> None:
    check_calibrator(StructuredVectorScaling)


def test_an_endless_penalty_is_temperature_scaling(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    structured = StructuredVectorScaling(strength=1e12).fit(labels, logits=logits)
    plain = TemperatureScaling().fit(labels, logits=logits)
    assert structured.temperature_ == plain.temperature_
    assert torch.allclose(structured.transform(logits=logits), plain.transform(logits=logits), atol=1e-8)


def test_no_penalty_is_vector_scaling_after_temperature_scaling(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    structured = StructuredVectorScaling(strength=0.0).fit(labels, logits=logits)
    scaled = logits / TemperatureScaling().fit(labels, logits=logits).temperature_
    plain = VectorScaling().fit(labels, logits=scaled)
    assert torch.allclose(structured.transform(logits=logits), plain.transform(logits=scaled), atol=1e-7)


def test_the_slow_twin_has_no_slope_there(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 60)
    weight = torch.rand(60, generator=generator, dtype=torch.float64) + 0.1
    scaling = StructuredVectorScaling(strength=0.7).fit(labels, logits=logits, weight=weight)
    scaled = [oracle.log_softmax([z / scaling.temperature_ for z in row]) for row in logits.tolist()]

    def loss(point: list[float]) -> float:
        matrix = [[point[i] if i == j else 0.0 for j in range(3)] for i in range(3)]
        return oracle.structured_objective(scaled, labels.tolist(), matrix, point[3:], 0.7, weight.tolist())

    at = scaling.slope_.tolist() + scaling.intercept_.tolist()
    assert max(map(abs, oracle.gradient(loss, at))) < 1e-8


def test_the_slow_twin_is_no_better_nearby(generator: torch.Generator) -> None:
    # Slope zero is enough for a convex loss; the size of the loss guards the twin's own penalty.
    labels, logits = _draw(generator, 40)
    scaling = StructuredVectorScaling().fit(labels, logits=logits)
    scaled = [oracle.log_softmax([z / scaling.temperature_ for z in row]) for row in logits.tolist()]
    diagonal = torch.diag(scaling.slope_).tolist()
    best = oracle.structured_objective(scaled, labels.tolist(), diagonal, scaling.intercept_.tolist(), 1.0)
    identity = torch.eye(3).tolist()
    assert best < oracle.structured_objective(scaled, labels.tolist(), identity, [0.0] * 3, 1.0)


def test_it_is_never_worse_than_temperature_scaling(generator: torch.Generator) -> None:
    for samples in (5, 40, 300):
        labels, logits = _draw(generator, samples)
        one, many = (
            log_loss(labels, logits=kind().fit(labels, logits=logits).transform(logits=logits)).mean()
            for kind in (TemperatureScaling, StructuredVectorScaling)
        )
        assert many <= one + 1e-12


def test_a_penalty_allows_few_samples_and_none_warns(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 20)
    StructuredVectorScaling().fit(labels, logits=logits)
    with pytest.warns(UserWarning, match="20 samples, fewer than 10 for each of 7 numbers"):
        StructuredVectorScaling(strength=0.0).fit(labels, logits=logits)


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(ValueError, match="strength must be finite and at least 0"):
        StructuredVectorScaling(strength=-1.0)


def test_real_probabilities_gain_on_temperature_scaling(shared_data) -> None:
    with np.load(shared_data / "predictions" / "cifar100-densenet-probs.npz") as file:
        labels, log_probs = torch.tensor(file["labels"]), torch.tensor(file["probs"]).double().clamp_min(1e-38).log()
    mapped = StructuredVectorScaling().fit(labels[:5000], logits=log_probs[:5000]).transform(logits=log_probs[5000:])
    assert log_loss(labels[5000:], logits=mapped).mean().item() == pytest.approx(0.8591, abs=1e-4)  # TS: 0.8666
