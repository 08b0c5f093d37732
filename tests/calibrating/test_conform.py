"""Prediction sets from saved predictions: thresholds from some samples, judged on others."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import trueline
from trueline.calibrating import CONDITIONS, SCORES, Conformed, conform, pictures_of_run
from trueline.calibrating._conformed_words import conformed_verdict
from trueline.conformal import LAC, coverage_band, evaluate_sets
from trueline.predictions import PredictionSet, from_arrays


def _draw(seed: int, samples: int = 800, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return logits.softmax(1).multinomial(1, generator=generator).squeeze(1), logits


def _set(seed: int = 0, **options: object) -> PredictionSet:
    labels, logits = _draw(seed)
    return from_arrays(labels, logits=logits, name="net", **options)


def test_held_out_samples_give_the_thresholds() -> None:
    labels, logits = _draw(1, samples=400)
    found = conform(_set(held_out=(labels, logits)), alpha=0.2)
    expected = LAC(0.2).fit(labels, logits=logits)
    assert found.conformal.threshold_ == pytest.approx(expected.threshold_, rel=1e-12)
    mine = _draw(0)
    sets = expected.predict_set(logits=mine[1])
    assert found.report.coverage == evaluate_sets(mine[0], sets, 0.2).coverage
    assert found.calibrated == 400
    assert len(found.report.size) == 800
    assert (found.report.expected_low, found.report.expected_high) == coverage_band(400, 0.2, 800)


def test_without_them_one_half_judges_the_other_and_all_are_kept() -> None:
    found = conform(_set(), alpha=0.1, seed=3)
    assert (found.calibrated, len(found.report.size)) == (400, 400)
    assert any("A random half of the samples" in note for note in found.notes)
    labels, logits = _draw(0)
    assert found.conformal.threshold_ == pytest.approx(LAC(0.1).fit(labels, logits=logits).threshold_, rel=1e-12)
    assert found.report.expected_low is not None
    assert found.report.expected_low <= found.report.coverage.value <= found.report.expected_high
    assert "what the promise leads one to expect" in found.verdict[0]


@pytest.mark.parametrize("method", SCORES)
@pytest.mark.parametrize("conditional", CONDITIONS)
def test_every_score_under_every_condition(method: str, conditional: str) -> None:
    labels, logits = _draw(0)
    predictions = from_arrays(labels, logits=logits, groups=(labels > 2).long())
    found = conform(predictions, alpha=0.2, method=method, conditional=conditional)
    assert found.report.coverage.value > 0.8 - 0.12  # three deviations for the hundred samples of a smaller part
    assert [point.method for point in found.others] == list(SCORES)
    coverages = [point.coverage for point in found.curve]
    assert coverages == sorted(coverages, reverse=True)
    assert found.report.by_group is not None


def test_groups_of_other_samples_are_known_by_their_names() -> None:
    labels, logits = _draw(1)
    north = torch.arange(800) % 2 == 0
    others = from_arrays(labels, logits=logits, groups=["north" if one else "east" for one in north.tolist()])
    judged = _set(groups=["west"] * 400 + ["north"] * 400, held_out=None)
    found = conform(replace(judged, held_out=others), alpha=0.2, conditional="group")
    assert found.group_names == ("north", "west", "east")
    expected = LAC(0.2).fit(labels[north], logits=logits[north]).threshold_
    assert found.conformal.threshold_[0].item() == pytest.approx(expected, rel=1e-12)
    assert any("0 for north, 1 for west, 2 for east" in note for note in found.notes)
    assert any("No sample of group west gave a threshold" in note for note in found.notes)
    assert found.report.size[:400].eq(5).all()
    assert found.report.size[400:].double().mean() < 4


def test_groups_are_needed_of_both_sides_and_weights_are_said_to_be_left_aside() -> None:
    grouped = _set(groups=torch.arange(800) % 2, weight=torch.ones(800))
    assert any("Weights are left aside" in note for note in conform(grouped).notes)
    with pytest.raises(ValueError, match="need groups, which labels and logits passed as arrays lack"):
        conform(replace(grouped, held_out=_set(1)), conditional="group")


def test_shifted_samples_break_the_promise_and_the_verdict_says_so() -> None:
    labels, logits = _draw(1)
    wrong, other = _draw(2)
    shifted = from_arrays((wrong + (torch.arange(800) % 3 == 0)) % 5, logits=other, held_out=(labels, logits))
    found = conform(shifted)
    assert "less than chance explains" in found.verdict[0]


def test_judging_on_the_fitted_samples_is_noticed() -> None:
    labels, logits = _draw(0)
    found = conform(_set(held_out=(labels, logits)))
    assert any("the coverage below promises nothing" in note for note in found.notes)


def test_classes_that_are_missed_are_named_with_what_repairs_them() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (3000,), generator=generator)
    logits = 3.0 * torch.nn.functional.one_hot(labels, 3) + torch.randn(3000, 3, generator=generator)
    logits[labels == 2] = logits[labels == 2].flip(1)  # taken for class 0
    found = conform(from_arrays(labels, logits=logits, class_names=["cat", "dog", "owl"]), alpha=0.25)
    assert "In 1 of 3 classes coverage is below" in found.verdict[1]
    assert "owl" in found.verdict[1]
    assert "Thresholds by class" in found.verdict[1]


@pytest.mark.parametrize(("weak", "named"), [(2, False), (3, True)])
def test_of_many_classes_a_few_are_below_by_chance(weak: int, named: bool) -> None:
    labels = torch.arange(100).repeat_interleave(50)
    covered = torch.arange(5000) % 50 < 45
    covered[labels < weak] = (torch.arange(5000) % 50 < 30)[labels < weak]
    sets = torch.nn.functional.one_hot((labels + (~covered).long()) % 100, 100).bool()
    names = [str(k) for k in range(100)]
    words = conformed_verdict(evaluate_sets(labels, sets, 0.1), "none", names, ())[1]
    assert (f"In {weak} of 100 classes" in words) == named


def test_the_largest_sets_come_first_with_their_classes_ranked() -> None:
    found = conform(_set(), alpha=0.05)
    sizes = [len(one.classes) for one in found.largest]
    assert sizes == sorted(sizes, reverse=True)
    _, logits = _draw(0)
    one = found.largest[0]
    ranked = logits[one.index].argsort(descending=True).tolist()
    assert list(one.classes) == [k for k in ranked if k in one.classes]
    assert sizes[0] == found.report.size.max()


def test_pictures_stand_beside_the_largest_sets(tmp_path: Path) -> None:
    labels, logits = _draw(0, samples=80)
    images = torch.randint(256, (80, 8, 8), dtype=torch.uint8)
    found = conform(from_arrays(labels, logits=logits, images=images), alpha=0.2)
    assert all(one.picture is not None and one.picture.startswith("data:image/png") for one in found.largest)
    assert pictures_of_run(tmp_path, "test") is None


def test_the_record_is_json_and_the_thresholds_a_file(tmp_path: Path) -> None:
    found = conform(_set(), method="aps", conditional="class")
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert record["report"]["coverage"]["value"] == found.report.coverage.value
    read = trueline.load(found.save(tmp_path / "sets.safetensors"))
    _, logits = _draw(5)
    assert torch.equal(read.predict_set(logits=logits), found.conformal.predict_set(logits=logits))
    assert str(found).startswith(found.verdict[0])


def test_sets_that_ties_enlarge_are_not_called_too_large() -> None:
    labels, _ = _draw(0)
    found = conform(from_arrays(labels, logits=torch.zeros(800, 5)))
    assert found.report.coverage.value == 1
    assert "more than chance explains" in found.verdict[0]
    assert "scores tie" in found.verdict[0]


def test_thresholds_that_are_infinite_are_said() -> None:
    labels, logits = _draw(0, samples=60)
    found = _quietly(labels, logits)
    assert any("too few" in note or "infinite" in note for note in found.notes)


def _quietly(labels: Tensor, logits: Tensor) -> Conformed:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return conform(from_arrays(labels, logits=logits), alpha=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha must lie strictly between 0 and 1"),
        ({"alpha": 90.0}, "alpha must lie strictly between 0 and 1"),
        ({"method": "asp"}, "did you mean 'aps'"),
        ({"conditional": "klass"}, "did you mean 'class'"),
        ({"conditional": "group"}, "need groups"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conform(_set(), **options)


def test_too_few_samples_are_refused() -> None:
    labels, logits = _draw(0, samples=30)
    with pytest.raises(ValueError, match="at least 20 samples are needed"):
        conform(from_arrays(labels, logits=logits))
