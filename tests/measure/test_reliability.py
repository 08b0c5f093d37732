"""Reliability: agreement with the other measures, intervals, empty bins, JSON and the chart."""

import json
import math

import pytest
import torch

from trueline.contracts import facts_of
from trueline.measure import accuracy, calibration_error, confidence_gap, mean_scores, reliability
from trueline.numerics import wilson_interval


@pytest.fixture
def problem(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 3 * torch.randn(400, 3, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((0.5 * logits).softmax(dim=1), 1, generator=generator).squeeze(1)
    return labels, logits


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_the_summary_agrees_with_the_other_measures(problem, binning: str) -> None:
    labels, logits = problem
    record = reliability(labels, logits=logits, bins=10, binning=binning)
    error = calibration_error(labels, logits=logits, bins=10, binning=binning)
    assert record.calibration_error == pytest.approx(error.item(), abs=1e-14)
    assert record.mean_accuracy == pytest.approx(accuracy(labels, logits=logits).mean().item())
    signed = (record.count.double() @ record.gap).item() / record.samples
    assert signed == pytest.approx(confidence_gap(labels, logits=logits).mean().item(), abs=1e-14)
    assert record.mean_confidence - record.mean_accuracy == pytest.approx(signed, abs=1e-14)
    assert record.samples == record.count.sum() == 400
    assert record.lower[0] == 0
    assert record.upper[-1] == 1
    assert torch.equal(record.lower[1:], record.upper[:-1])


def test_intervals_are_wilson_intervals_of_the_bins(problem) -> None:
    labels, logits = problem
    record = reliability(labels, logits=logits, level=0.8)
    for b in record.count.nonzero().flatten():
        low, high = wilson_interval(record.accuracy[b], record.count[b].double(), level=0.8)
        assert record.interval_low[b] == low <= record.accuracy[b] <= high == record.interval_high[b]


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_the_weighted_summary_agrees_with_the_other_measures(problem, binning: str, generator) -> None:
    labels, logits = problem
    weight = torch.rand(400, generator=generator)
    given = {"logits": logits, "weight": weight}
    record = reliability(labels, **given, bins=10, binning=binning)
    assert record.calibration_error == pytest.approx(
        calibration_error(labels, **given, bins=10, binning=binning).item(), abs=1e-14
    )
    scores = mean_scores(labels, **given)
    assert record.mean_accuracy == pytest.approx(scores["accuracy"])
    assert record.mean_confidence - record.mean_accuracy == pytest.approx(scores["confidence_gap"])
    assert record.samples == record.count.sum() == 400


def test_repeated_samples_equal_weights_except_for_the_number_of_samples(problem) -> None:
    labels, logits = problem
    times = torch.arange(400) % 3
    weighted = reliability(labels, logits=logits, weight=times.float())
    repeated = reliability(labels.repeat_interleave(times), logits=logits.repeat_interleave(times, dim=0))
    for name in ("lower", "upper", "confidence", "accuracy", "gap"):
        assert torch.allclose(getattr(weighted, name), getattr(repeated, name), equal_nan=True), name
    assert weighted.samples == 400
    assert (weighted.interval_high - weighted.interval_low >= repeated.interval_high - repeated.interval_low).all()


def test_a_constant_weight_changes_no_interval(problem) -> None:
    labels, logits = problem
    plain = reliability(labels, logits=logits)
    weighted = reliability(labels, logits=logits, weight=torch.full((400,), 0.3))
    for name in ("accuracy", "interval_low", "interval_high"):
        assert torch.allclose(getattr(plain, name), getattr(weighted, name), rtol=1e-12, equal_nan=True), name


def test_a_bin_without_weight_knows_nothing_and_is_not_drawn() -> None:
    pytest.importorskip("altair")
    probs = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
    record = reliability(torch.tensor([0, 0]), probs=probs, weight=torch.tensor([1.0, 0.0]), bins=2)
    assert record.count.tolist() == [1, 1]
    assert record.accuracy.tolist() == [pytest.approx(math.nan, nan_ok=True), 1.0]
    assert (record.interval_low[0].item(), record.interval_high[0].item(), record.gap[0].item()) == (0, 1, 0)
    assert [row["confidence"] for row in record.plot().to_dict()["layer"][2]["data"]["values"]] == [pytest.approx(0.9)]


def test_an_empty_bin_says_it_knows_nothing() -> None:
    record = reliability(torch.tensor([0]), probs=torch.tensor([[0.9, 0.1]]), bins=2)
    assert record.count.tolist() == [0, 1]
    assert record.confidence[0].isnan()
    assert record.accuracy[0].isnan()
    assert (record.interval_low[0].item(), record.interval_high[0].item(), record.gap[0].item()) == (0, 1, 0)


def test_the_dictionary_is_strict_json(problem) -> None:
    labels, logits = problem
    record = reliability(labels, logits=logits, bins=10)
    loaded = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    assert loaded["count"] == record.count.tolist()
    assert loaded["accuracy"][0] is None
    assert loaded["calibration_error"] == record.calibration_error
    assert math.isnan(record.accuracy[0])


def test_the_chart_shows_every_bin_that_holds_a_sample(problem) -> None:
    pytest.importorskip("altair")
    labels, logits = problem
    record = reliability(labels, logits=logits, bins=10)
    chart = record.plot().to_dict()
    rows = [layer["data"]["values"] for layer in chart["layer"]]
    assert [len(layer) for layer in rows] == [2, 7, 7]
    assert int((record.count > 0).sum()) == 7
    assert sum(row["count"] for row in rows[2]) == 400


def test_the_chart_renders(problem) -> None:
    vl_convert = pytest.importorskip("vl_convert")
    labels, logits = problem
    svg = vl_convert.vegalite_to_svg(reliability(labels, logits=logits).plot().to_dict())
    assert svg.startswith("<svg")
    assert "confidence" in svg


def test_bad_options_are_refused() -> None:
    labels, probs = torch.tensor([0]), torch.tensor([[0.9, 0.1]])
    with pytest.raises(ValueError, match="level must lie strictly between 0 and 1"):
        reliability(labels, probs=probs, level=95.0)
    with pytest.raises(ValueError, match="bins must be at least 1"):
        reliability(labels, probs=probs, bins=0)
    with pytest.raises(ValueError, match="weight must be finite, at least zero and positive somewhere"):
        reliability(labels, probs=probs, weight=torch.zeros(1))


def test_published_measures_carry_their_references() -> None:
    from trueline import measure

    names = ("brier", "calibration_error", "ks_calibration_error", "log_loss", "null_calibration", "reliability")
    for name in (*names, "smooth_calibration_error"):
        facts = facts_of(getattr(measure, name))
        assert (facts.name, facts.group) == (name, "measure")
