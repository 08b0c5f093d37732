"""Calibration by class and by group: agreement with the measures of the group, corrections, and small groups."""

import json
import math

import pytest
import torch

from trueline.measure import calibration_error, calibration_error_interval
from trueline.measure._calibration_by import calibration_by_class, calibration_by_group
from trueline.measure._holm import holm


def _draw(generator: torch.Generator, samples: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 2 * torch.randn(samples, 3, generator=generator, dtype=torch.float64)
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1), logits


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_the_mean_over_classes_is_the_classwise_error(generator: torch.Generator, binning: str) -> None:
    labels, logits = _draw(generator)
    table = calibration_by_class(labels, logits=logits, binning=binning, draws=50)
    expected = calibration_error(labels, logits=logits, binning=binning, classwise=True).item()
    assert table.error.mean().item() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(table.adjusted_p_value, holm(table.p_value))
    assert table.names == ("0", "1", "2")


def test_each_group_has_the_error_and_interval_it_has_alone(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    groups = torch.where(torch.rand(600, generator=generator) < 0.3, 7, -1)
    table = calibration_by_group(labels, groups, logits=logits, draws=100)
    assert table.names == ("-1", "7")
    for row, number in enumerate((-1, 7)):
        own = groups == number
        alone = calibration_error_interval(labels[own], logits=logits[own])
        assert table.error[row].item() == pytest.approx(alone.value, abs=1e-12)
        assert int(table.count[row]) == int(own.sum())
        assert table.low[row] <= table.error[row] <= table.high[row]
        assert table.high[row] - table.low[row] == pytest.approx(alone.high - alone.low, rel=0.5)


def test_only_the_dishonest_group_is_beyond_chance(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    groups = torch.arange(600) % 4
    table = calibration_by_group(labels, groups, logits=torch.where(groups[:, None] == 2, 4, 1) * logits, draws=400)
    assert (table.adjusted_p_value < 0.05).tolist() == [False, False, True, False]
    assert "1 of 4 are off beyond chance" in str(table)
    assert str(table).splitlines()[1].startswith("  group 2")


def test_no_class_of_a_calibrated_model_is_beyond_chance_too_often(generator: torch.Generator) -> None:
    found = 0
    for _ in range(20):
        labels, logits = _draw(generator, 200)
        table = calibration_by_class(labels, logits=logits, draws=199, generator=generator)
        found += bool((table.adjusted_p_value <= 0.05).any())
    assert found <= 5  # binomial, 20 of 0.05: above with a chance of 0.0003


def test_binary_groups_can_be_about_class_1(generator: torch.Generator) -> None:
    log_odds = torch.randn(200, generator=generator, dtype=torch.float64)
    labels, groups = torch.randint(0, 2, (200,), generator=generator), torch.arange(200) // 100
    table = calibration_by_group(labels, groups, logits=log_odds, event="positive", names=["a", "b"], draws=20)
    assert table.frequency.tolist() == pytest.approx(labels.double().view(2, 100).mean(dim=1).tolist())
    assert table.confidence[0].item() == pytest.approx(log_odds[:100].sigmoid().mean().item())
    assert table.names == ("a", "b")


def test_a_group_of_one_has_no_interval_but_a_test() -> None:
    groups = torch.tensor([0, 1])
    table = calibration_by_group(torch.tensor([0, 1]), groups, probs=torch.tensor([[0.9, 0.1]] * 2), draws=200)
    assert table.high.tolist() == [math.inf, math.inf]
    assert table.error.tolist() == pytest.approx([0.1, 0.9])
    assert table.p_value[0] > 0.5 > table.p_value[1]


def test_real_classes_have_the_mean_that_was_measured(predictions) -> None:
    labels, given = predictions("F6 test")
    table = calibration_by_class(labels, **given, draws=50)
    assert table.error.mean().item() == pytest.approx(0.004220, abs=5.1e-7)


def test_the_record_draws_and_writes_what_it_found(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 40)
    table = calibration_by_class(labels, logits=logits, names=["a", "b", "c"], draws=20)
    assert len(table.plot().to_dict()["layer"]) == 3
    json.dumps(table.to_dict(), allow_nan=False)


def test_what_cannot_be_is_refused() -> None:
    labels, probs = torch.tensor([0, 1]), torch.tensor([[0.9, 0.1]] * 2)
    with pytest.raises(ValueError, match="names must be 2 texts, one for each class, got 1"):
        calibration_by_class(labels, probs=probs, names=["a"])
    with pytest.raises((ValueError, TypeError), match="groups"):
        calibration_by_group(labels, torch.tensor([0]), probs=probs)
    with pytest.raises(TypeError, match="groups"):
        calibration_by_group(labels, torch.zeros(2), probs=probs)
    with pytest.raises((ValueError, TypeError), match="event"):
        calibration_by_group(labels, labels, probs=probs, event="classwise")
    with pytest.raises(ValueError, match="draws must be at least 1"):
        calibration_by_class(labels, probs=probs, draws=0)
