"""Recalibration of saved predictions: judged on samples no map has seen, warned of where it costs, kept in a file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import trueline
from trueline.calibrate import AutomaticCalibration, TemperatureScaling
from trueline.calibrating import MAPS, map_named, recalibrate
from trueline.calibrating._recalibration_words import notes_on_change, recalibration_verdict
from trueline.contracts import Calibrator, cross_fit
from trueline.measure import evaluate
from trueline.numerics import Interval
from trueline.predictions import PredictionSet, from_arrays


def _draw(seed: int, samples: int = 600, classes: int = 4, sharpness: float = 2.0) -> tuple[Tensor, Tensor]:
    """Labels, and logits that overstate the probabilities they are drawn from."""
    generator = torch.Generator().manual_seed(seed)
    honest = 1.5 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return honest.softmax(1).multinomial(1, generator=generator).squeeze(1), sharpness * honest


def _pair(sharpness: float) -> tuple[Tensor, Tensor]:
    """Labels and probabilities."""
    labels, logits = _draw(3, sharpness=sharpness)
    return labels, logits.softmax(1)


def _set(seed: int = 0, **options: object) -> PredictionSet:
    labels, logits = _draw(seed)
    return from_arrays(labels, logits=logits, name="net", **options)


def test_it_is_judged_by_cross_validation_and_kept_from_all() -> None:
    labels, logits = _draw(0)
    found = recalibrate(_set(), method="temperature")
    honest = evaluate(labels, logits=cross_fit(TemperatureScaling, labels, logits=logits, folds=5))
    assert found.folds == 5
    assert found.after.scores["log_loss"] == honest.scores["log_loss"]
    assert found.calibrator.state() == TemperatureScaling().fit(labels, logits=logits).state()
    assert found.change["log_loss"].high < 0
    assert found.changed == 0
    assert found.fitted == 600
    assert found.notes == ()


def test_held_out_samples_are_what_it_is_fitted_to() -> None:
    labels, logits = _draw(1)
    found = recalibrate(_set(held_out=(labels, logits)), method="temperature")
    fitted = TemperatureScaling().fit(labels, logits=logits)
    assert found.folds is None
    assert found.calibrator.state() == fitted.state()
    mine = _draw(0)
    expected = evaluate(mine[0], logits=fitted.transform(logits=mine[1])).scores["log_loss"]
    assert found.after.scores["log_loss"].value == pytest.approx(expected.value, rel=1e-12)
    assert not [note for note in found.notes if "overstated" in note]


def test_weights_of_held_out_samples_count() -> None:
    labels, logits = _draw(1)
    weight = torch.cat([torch.ones(300), torch.zeros(300)]).double()
    others = from_arrays(labels, logits=logits, weight=weight)
    found = recalibrate(replace(_set(), held_out=others), method="temperature")
    half = TemperatureScaling().fit(labels[:300], logits=logits[:300])
    assert found.calibrator.state()["temperature_"] == pytest.approx(half.temperature_, rel=1e-9)


def test_judging_on_the_fitted_samples_is_noticed() -> None:
    labels, logits = _draw(0)
    found = recalibrate(_set(held_out=(labels[:300], logits[:300])), method="temperature")
    (note,) = [note for note in found.notes if "overstated" in note]
    assert "100.0\N{NO-BREAK SPACE}% of the samples that the map was fitted to are among those" in note


def test_honest_predictions_have_nothing_to_repair() -> None:
    labels, logits = _draw(3, sharpness=1.0)
    found = recalibrate(from_arrays(labels, logits=logits))
    assert "nothing here that a map could repair beyond noise" in found.verdict[0]
    assert isinstance(found.calibrator, AutomaticCalibration)
    assert found.choice is not None


def test_a_map_that_destroys_accuracy_is_named_even_where_the_calibration_error_falls() -> None:
    labels, logits = _draw(0, samples=1500, classes=30)
    found = recalibrate(from_arrays(labels, logits=logits), method="scaling-binning")
    assert found.change["ece"].high < 0
    assert found.change["accuracy"].high < 0
    assert any("This map destroys accuracy" in note for note in found.notes)
    assert found.changed > 0.1


def test_few_rows_for_many_numbers_are_said_once() -> None:
    labels, logits = _draw(0, samples=60)
    found = recalibrate(from_arrays(labels, logits=logits), method="vector")
    assert len([note for note in found.notes if "fewer than 10 for each of 8 numbers" in note]) == 1


def test_groups_are_judged_apart_and_weights_count() -> None:
    labels, logits = _draw(0)
    weight = torch.cat([torch.ones(300), torch.zeros(300)]).double()
    groups = ["north"] * 300 + ["south"] * 300
    found = recalibrate(from_arrays(labels, logits=logits, groups=groups), method="temperature")
    assert list(found.after.groups) == ["north", "south"]
    north = evaluate(labels[:300], logits=logits[:300]).scores["accuracy"].value
    assert found.before.groups["north"].scores["accuracy"].value == north
    weighted = recalibrate(from_arrays(labels, logits=logits, weight=weight), method="temperature")
    half = TemperatureScaling().fit(labels[:300], logits=logits[:300])
    assert weighted.calibrator.state()["temperature_"] == pytest.approx(half.temperature_, rel=1e-9)


def test_the_record_is_json_and_the_map_a_file(tmp_path: Path) -> None:
    found = recalibrate(_set())
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert {row["measure"] for row in record["change"]} >= {"accuracy", "log_loss", "ece"}
    assert record["choice"]["names"][0] == "Identity"
    read = trueline.load(found.save(tmp_path / "map.safetensors"))
    _, logits = _draw(5)
    assert torch.equal(read.transform(logits=logits), found.calibrator.transform(logits=logits))
    assert str(found).startswith(found.verdict[0])


def test_what_lies_within_noise_is_not_called_repaired_nor_beyond_repair() -> None:
    better = {"log_loss": Interval(-0.1, -0.2, -0.05), "accuracy": Interval(0.0, 0.0, 0.0), "ece": Interval(0, -1, 1)}
    none = {**better, "log_loss": Interval(-0.01, -0.2, 0.1)}
    scaling = TemperatureScaling().load_state({"num_classes_": 4, "temperature_": 2.0})
    honest, sharp = (evaluate(_pair(sharpness)[0], probs=_pair(sharpness)[1]) for sharpness in (1.0, 3.0))
    assert "nothing here" in recalibration_verdict(scaling, honest, honest, none, 0.0)[0]
    assert "nothing here" not in recalibration_verdict(scaling, honest, honest, better, 0.0)[0]
    assert "nothing here" not in recalibration_verdict(scaling, sharp, sharp, none, 0.0)[0]


def test_a_map_that_blurs_is_named() -> None:
    worse = {"log_loss": Interval(0.1, 0.05, 0.2), "accuracy": Interval(0.0, 0.0, 0.0), "ece": Interval(-0.1, -0.2, 0)}
    assert any("blurs what the model knows" in note for note in notes_on_change(worse, 0.0))
    assert not list(notes_on_change({**worse, "ece": Interval(0.1, 0.0, 0.2)}, 0.0))


def test_classes_that_no_fitted_sample_has_are_counted() -> None:
    labels, logits = _draw(0)
    found = recalibrate(from_arrays(labels.clamp_max(1), logits=logits), method="temperature")
    assert any("2 of 4 classes have no sample" in note for note in found.notes)
    weight = (labels != 3).double()
    weighted = recalibrate(_set(weight=weight), method="temperature")
    assert any("1 of 4 classes has no sample" in note for note in weighted.notes)


def test_samples_of_weight_zero_are_no_samples(tmp_path: Path) -> None:
    weight = torch.cat([torch.ones(29), torch.zeros(571)]).double()
    with pytest.raises(ValueError, match="at least 30 samples, got 29 of positive weight"):
        recalibrate(_set(weight=weight), method="temperature")
    lonely = _set(weight=weight, groups=["north"] * 29 + ["south"] * 571)
    found = recalibrate(replace(lonely, held_out=_set(1)), method="temperature")
    assert list(found.before.groups) == ["north"]
    assert "<html" in found.write_html(tmp_path / "page.html").read_text()[:500]


@pytest.mark.parametrize("mask", [-1e9, torch.finfo(torch.float32).min])
def test_masked_classes_stay_masked(mask: float) -> None:
    labels, logits = _draw(0)
    logits[:, 3] = mask
    found = recalibrate(from_arrays(labels % 3, logits=logits), method="structured-vector")
    assert found.change["log_loss"].high < 0
    with pytest.raises(ValueError, match=r"logits of one sample must lie within 1e\+60, got 1.79769e\+308"):
        recalibrate(from_arrays(labels % 3, logits=logits.index_fill(1, torch.tensor([3]), -1.79769e308)))


@pytest.mark.parametrize("samples", [1, 29])
def test_too_few_samples_are_refused(samples: int) -> None:
    labels, logits = _draw(0, samples=samples)
    with pytest.raises(ValueError, match=f"at least 30 samples, got {samples}"):
        recalibrate(from_arrays(labels, logits=logits))


def test_an_unknown_map_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'isotonic'"):
        recalibrate(_set(), method="isotonik")


@pytest.mark.parametrize("name", MAPS)
def test_every_name_makes_an_unfitted_calibrator(name: str) -> None:
    calibrator = map_named(name)()
    assert isinstance(calibrator, Calibrator)
    with pytest.raises(RuntimeError, match="not fitted"):
        calibrator.state()
