"""Refinement: the split adds up, needs no luck to find what scaling broke, and never looks at a row's own label."""

import json
import math

import pytest
import torch

from trueline.calibrate import TemperatureScaling
from trueline.contracts import cross_fit, facts_of
from trueline.measure import log_loss, refinement


def _draw(generator: torch.Generator, samples: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels of an honest model, and its logits times ``scale``."""
    honest = 2 * torch.randn(samples, 5, generator=generator, dtype=torch.float64)
    return torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1), scale * honest


def test_the_parts_add_up_to_the_log_loss(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 200, 3.0)
    parts = refinement(labels, logits=logits, calibrator=TemperatureScaling, folds=4)
    assert torch.equal(parts.score, log_loss(labels, logits=logits))
    assert torch.equal(parts.calibration, parts.score - parts.refinement)
    assert torch.equal(parts.log_probs, cross_fit(TemperatureScaling, labels, logits=logits, folds=4))
    assert torch.allclose(parts.refinement, log_loss(labels, logits=parts.log_probs), atol=1e-12)


def test_a_constant_prediction_is_left_with_the_frequency_of_the_others() -> None:
    """Leaving one of 30 hits out leaves 29 of 39; leaving one of 10 errors out leaves 9 of 39."""
    labels, logits = torch.tensor([0, 0, 0, 1] * 10), torch.tensor([[6.0, 0.0]]).expand(40, 2)
    parts = refinement(labels, logits=logits, calibrator=TemperatureScaling, folds=40)
    expected = torch.where(labels == 0, -math.log(29 / 39), -math.log(9 / 39)).double()
    assert torch.allclose(parts.refinement, expected, atol=1e-6)


def test_refinement_does_not_depend_on_a_temperature_and_finds_what_it_costs(generator: torch.Generator) -> None:
    labels, honest = _draw(generator, 4000, 1.0)
    parts = refinement(labels, logits=honest, calibrator=TemperatureScaling)
    assert abs(parts.calibration.mean()) < 1e-3  # nothing to mend
    sharp = refinement(labels, logits=3 * honest, calibrator=TemperatureScaling)
    assert torch.allclose(sharp.refinement, parts.refinement, atol=1e-8)
    cost = (log_loss(labels, logits=3 * honest) - log_loss(labels, logits=honest)).mean().item()
    assert sharp.calibration.mean().item() == pytest.approx(cost, abs=1e-3)


def test_weights_generator_and_probabilities(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 100, 2.0)
    reference = refinement(labels, logits=logits, calibrator=TemperatureScaling)
    for options in ({"weight": torch.full((100,), 0.5)}, {"generator": torch.Generator().manual_seed(0)}):
        same = refinement(labels, logits=logits, calibrator=TemperatureScaling, **options)
        assert torch.allclose(same.refinement, reference.refinement, atol=1e-8)
    dealt = refinement(labels, logits=logits, calibrator=TemperatureScaling, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(dealt.refinement, reference.refinement)
    from_probs = refinement(labels, probs=logits.softmax(dim=1), calibrator=TemperatureScaling)
    assert torch.allclose(from_probs.calibration, reference.calibration, atol=1e-8)
    weight = (torch.arange(100) % 3 > 0).double()
    present = weight > 0
    weighted = refinement(labels, logits=logits, calibrator=TemperatureScaling, weight=weight)
    without = refinement(labels[present], logits=logits[present], calibrator=TemperatureScaling)
    assert torch.allclose(weighted.refinement[present], without.refinement, atol=1e-8)


def test_real_predictions_gain_from_a_temperature(predictions) -> None:
    labels, given_as = predictions("F6 test")
    parts = refinement(labels, **given_as, calibrator=TemperatureScaling)
    assert parts.score.mean().item() == pytest.approx(0.175509, abs=1e-6)
    assert parts.refinement.mean().item() == pytest.approx(0.1738, abs=3e-4)  # .173842 with a temperature fitted apart


def test_the_dictionary_is_strict_json() -> None:
    logits = torch.tensor([[6.0, 0.0]]).expand(8, 2)
    parts = refinement(torch.tensor([0, 0, 0, 1] * 2), logits=logits, calibrator=TemperatureScaling, folds=2)
    loaded = json.loads(json.dumps(parts.to_dict(), allow_nan=False))
    assert loaded["calibration"] == parts.calibration.tolist()
    assert loaded["log_probs"] == parts.log_probs.tolist()


def test_bad_input_is_refused() -> None:
    labels, logits = torch.tensor([0, 1]), torch.zeros(2, 2)
    with pytest.raises(ValueError, match="folds must lie in"):
        refinement(labels, logits=logits, calibrator=TemperatureScaling)
    with pytest.raises(ValueError, match="exactly one"):
        refinement(labels, calibrator=TemperatureScaling, folds=2)


def test_it_carries_its_references() -> None:
    assert [reference.year for reference in facts_of(refinement).references] == [2009, 2025]
