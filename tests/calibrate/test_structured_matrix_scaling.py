"""Structured matrix scaling: its limits, the slow twin's gradient, and its place between other maps."""

import pytest
import torch
from oracles import recalibration_maps as oracle

from trueline.calibrate import MatrixScaling, StructuredMatrixScaling, TemperatureScaling
from trueline.contracts import check_calibrator
from trueline.measure import log_loss


def _draw(generator: torch.Generator, samples: int = 300, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    mixed = logits @ (0.6 * torch.eye(classes) + 0.2 * torch.randn(classes, classes, generator=generator)).double()
    return torch.multinomial(mixed.softmax(dim=1), 1, generator=generator).squeeze(1), logits


def test_it_keeps_the_contract() -> None:
    check_calibrator(StructuredMatrixScaling)


def test_an_endless_penalty_is_temperature_scaling(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    structured = StructuredMatrixScaling(strength=1e12).fit(labels, logits=logits)
    plain = TemperatureScaling().fit(labels, logits=logits)
    assert torch.allclose(structured.transform(logits=logits), plain.transform(logits=logits), atol=1e-8)


def test_no_penalty_is_matrix_scaling(generator: torch.Generator) -> None:
    # ln softmax(z/T) spans another space than ln softmax(z), so compare after the temperature.
    labels, logits = _draw(generator)
    structured = StructuredMatrixScaling(strength=0.0).fit(labels, logits=logits)
    scaled = logits / structured.temperature_
    plain = MatrixScaling().fit(labels, logits=scaled)
    assert torch.allclose(structured.transform(logits=logits), plain.transform(logits=scaled), atol=1e-7)


def test_the_slow_twin_has_no_slope_there(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 60)
    weight = torch.rand(60, generator=generator, dtype=torch.float64) + 0.1
    scaling = StructuredMatrixScaling(strength=0.7).fit(labels, logits=logits, weight=weight)
    scaled = [oracle.log_softmax([z / scaling.temperature_ for z in row]) for row in logits.tolist()]

    def loss(point: list[float]) -> float:
        matrix = [point[3 * i : 3 * i + 3] for i in range(3)]
        return oracle.structured_objective(scaled, labels.tolist(), matrix, point[9:], 0.7, weight.tolist())

    at = scaling.matrix_.flatten().tolist() + scaling.intercept_.tolist()
    assert max(map(abs, oracle.gradient(loss, at))) < 1e-8


def test_it_is_never_worse_than_temperature_scaling(generator: torch.Generator) -> None:
    for samples in (5, 40, 300):
        labels, logits = _draw(generator, samples)
        one, many = (
            log_loss(labels, logits=kind().fit(labels, logits=logits).transform(logits=logits)).mean()
            for kind in (TemperatureScaling, StructuredMatrixScaling)
        )
        assert many <= one + 1e-12


def test_classes_can_be_renamed(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    order = torch.tensor([2, 0, 1])
    first = StructuredMatrixScaling().fit(labels, logits=logits)
    second = StructuredMatrixScaling().fit(order.argsort()[labels], logits=logits[:, order])
    assert torch.allclose(first.matrix_[order][:, order], second.matrix_, atol=1e-7)


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(ValueError, match="strength must be finite and at least 0"):
        StructuredMatrixScaling(strength=float("nan"))
