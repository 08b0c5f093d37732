"""The test of calibration: exact distributions, level, agreement with the null of the group, and refusals."""

import json
import math

import pytest
import torch
from oracles import calibration as oracle

from trueline.measure import calibration_error, null_calibration, reliability
from trueline.measure._consistency import consistency_test


def test_the_p_value_follows_the_exact_distribution() -> None:
    scores = [0.3, 0.35, 0.4, 0.6, 0.7, 0.7, 0.9]
    labels = torch.tensor([1, 0, 1, 0, 1, 0, 1])
    exact = oracle.null_errors(scores, oracle.width_bins(scores, 4), None)
    given = torch.tensor(scores, dtype=torch.float64)
    found = consistency_test(labels, probs=given, event="positive", bins=4, draws=20_000)
    expected = sum(chance for chance, error in exact if error >= found.error - 1e-9)
    assert 0.05 < expected < 0.95
    assert found.p_value == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 20_000))


def test_one_bin_has_the_p_value_of_a_binomial() -> None:
    n, k, p = 50, 33, 0.8
    pmf = [math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(n + 1)]
    expected = sum(chance for j, chance in enumerate(pmf) if abs(j - n * p) >= abs(k - n * p) - 1e-9)
    given = torch.full((n,), p, dtype=torch.float64)
    found = consistency_test((torch.arange(n) < k).long(), probs=given, event="positive", bins=1, draws=20_000)
    assert found.p_value == pytest.approx(expected, rel=0.2)
    assert found.bin_p_value.item() == found.adjusted_p_value.item() == pytest.approx(found.p_value)


def test_a_calibrated_model_is_rejected_as_often_as_promised(generator: torch.Generator) -> None:
    logits = 2 * torch.randn(300, 3, generator=generator, dtype=torch.float64)
    values, adjusted = [], []
    for _ in range(120):
        labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
        found = consistency_test(labels, logits=logits, draws=199, generator=generator)
        values.append(found.p_value)
        adjusted.append(found.adjusted_p_value.nan_to_num(1.0).min().item())
    p = torch.tensor(values)
    assert (p <= 0.2).double().mean().item() == pytest.approx(0.2, abs=0.11)  # three standard errors
    assert (torch.tensor(adjusted) <= 0.05).double().mean() < 0.12


def test_an_over_confident_model_is_rejected(generator: torch.Generator) -> None:
    logits = 2 * torch.randn(500, 3, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    found = consistency_test(labels, logits=3 * logits, draws=199)
    assert found.p_value == pytest.approx(1 / 200)
    assert "more than chance" in str(found)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_it_agrees_with_the_measures_of_the_group(generator: torch.Generator, binning: str) -> None:
    logits = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (400,), generator=generator)
    found = consistency_test(labels, logits=logits, binning=binning, draws=500)
    assert found.error == pytest.approx(calibration_error(labels, logits=logits, binning=binning).item(), abs=1e-12)
    null = null_calibration(logits=logits, binning=binning, draws=500)
    assert (found.null_mean, found.null_limit) == pytest.approx((null.error_mean, null.error_limit), abs=1e-12)
    held = found.count > 0
    assert torch.allclose(found.band_low[held], null.accuracy_low[held], atol=1e-12)
    assert torch.allclose(found.band_high[held], null.accuracy_high[held], atol=1e-12)
    table = reliability(labels, logits=logits, binning=binning)
    assert torch.allclose(found.frequency, table.accuracy, equal_nan=True)


def test_edges_of_ones_own_are_any_binning(generator: torch.Generator) -> None:
    logits = torch.randn(300, 2, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2, (300,), generator=generator)
    edges = torch.arange(16, dtype=torch.float64) / 15
    first = consistency_test(labels, logits=logits, edges=edges, draws=50)
    assert first.to_dict() == consistency_test(labels, logits=logits, draws=50).to_dict()
    whole = consistency_test(labels, logits=logits, edges=torch.tensor([0.0, 1.0]), draws=50)
    assert len(whole.count) == 1


def test_neither_order_nor_the_global_state_matters(generator: torch.Generator) -> None:
    probs = torch.rand(200, generator=generator, dtype=torch.float64).mul(8).round() / 8
    labels = torch.randint(0, 2, (200,), generator=generator)
    order, before = torch.randperm(200, generator=generator), torch.get_rng_state()
    first = consistency_test(labels, probs=probs, event="positive", draws=50)
    second = consistency_test(labels[order], probs=probs[order], event="positive", draws=50)
    assert first.p_value == second.p_value
    assert torch.equal(before, torch.get_rng_state())


def test_sure_predictions_are_right_or_beyond_chance() -> None:
    probs = torch.ones(20, dtype=torch.float64)
    assert consistency_test(torch.ones(20, dtype=torch.int64), probs=probs, event="positive", draws=19).p_value == 1
    wrong = consistency_test(torch.zeros(20, dtype=torch.int64), probs=probs, event="positive", draws=19)
    assert wrong.p_value == pytest.approx(0.05)
    assert wrong.band_low[-1] == wrong.band_high[-1] == 1
    assert (wrong.band_low[0], wrong.band_high[0]) == (0, 1)
    assert wrong.bin_p_value[0].isnan()


def test_the_record_draws_and_writes_what_it_found(generator: torch.Generator) -> None:
    logits = torch.randn(100, 3, generator=generator)
    found = consistency_test(torch.randint(0, 3, (100,), generator=generator), logits=logits, draws=50)
    assert len(found.plot().to_dict()["layer"]) == 2
    json.dumps(found.to_dict(), allow_nan=False)


def test_uniform_predictions_show_the_error_that_chance_makes() -> None:
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    found = consistency_test((uniform > 0.5).long(), probs=uniform, event="positive", draws=400)
    assert found.null_mean == pytest.approx(0.038, abs=0.002)


@pytest.mark.parametrize(("name", "error"), [("F6 test", 0.015516), ("F1", 0.053716)])
def test_real_predictions_are_beyond_chance(predictions, name: str, error: float) -> None:
    labels, given = predictions(name)
    found = consistency_test(labels, **given, draws=100)
    assert found.error == pytest.approx(error, abs=5.1e-7)
    assert found.p_value == pytest.approx(1 / 101)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event": "classwise"}, "event"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"level": 95.0}, "level must lie strictly between 0 and 1"),
        ({"edges": torch.tensor([1.0, 0.0])}, "edges must be two or more non-decreasing numbers"),
        ({"edges": torch.tensor([0.5])}, "edges must be two or more"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        consistency_test(torch.tensor([0]), probs=torch.tensor([[0.9, 0.1]]), **options)
