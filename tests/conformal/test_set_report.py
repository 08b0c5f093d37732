"""Reports on prediction sets: counts by hand, parts, verdicts, plain values and the chart."""

import json

import pytest
import torch
from scipy import stats

from trueline.conformal import LAC, evaluate_sets


def _sets(sizes: list[int], classes: int) -> torch.Tensor:
    return torch.arange(classes) < torch.tensor(sizes)[:, None]


def test_everything_is_counted() -> None:
    sets = _sets([0, 1, 1, 2, 3, 5], 6)
    labels = torch.tensor([0, 0, 1, 1, 2, 5])
    report = evaluate_sets(labels, sets, 0.5, groups=torch.tensor([3, 3, 3, 8, 8, 8]))
    assert report.size.tolist() == [0, 1, 1, 2, 3, 5]
    assert report.covered.tolist() == [False, True, False, True, True, False]
    exact = stats.binomtest(3, 6).proportion_ci(0.95, "exact")
    assert (report.coverage.value, report.coverage.low, report.coverage.high) == pytest.approx((0.5, *exact))
    assert (report.mean_size.value, report.median_size) == (2, 1.5)
    assert (report.singleton_rate, report.empty_rate) == pytest.approx((2 / 6, 1 / 6))
    assert report.by_class.names == ("0", "1", "2", "5")
    assert report.by_class.coverage.tolist() == [0.5, 0.5, 1, 0]
    assert report.by_size.names == ("0 to 1", "2 to 3", "4 to 10")
    assert report.by_size.samples.tolist() == [3, 2, 1]
    assert report.by_size.covered.tolist() == [1, 2, 0]
    assert report.by_size.mean_size.tolist() == pytest.approx([2 / 3, 2.5, 5])
    assert report.by_group.names == ("3", "8")
    assert report.by_group.coverage.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert (report.class_gap, report.size_gap, report.group_gap) == pytest.approx((0.5, 0.5, 1 / 6))


def test_sizes_fall_into_the_published_strata() -> None:
    sets = _sets([0, 1, 2, 3, 4, 10, 11, 100, 101, 200], 200)
    report = evaluate_sets(torch.zeros(10, dtype=torch.int64), sets, 0.1)
    assert report.by_size.samples.tolist() == [2] * 5
    assert report.by_size.names[-1] == "101 and more"


def test_the_verdict_knows_the_chance_of_both_samples() -> None:
    labels = torch.arange(1000) % 2
    sets = torch.zeros(1000, 2, dtype=torch.bool)
    sets[:865] = True
    assert "less than agreed" in str(evaluate_sets(labels, sets, 0.1))
    few = evaluate_sets(labels, sets, 0.1, calibration_samples=100)
    assert few.expected_low < 0.865 < few.expected_high
    assert "within what chance of calibration and test samples explains" in str(few)
    assert "less than chance explains" in str(evaluate_sets(labels, sets, 0.1, calibration_samples=100_000))
    assert "more than agreed" in str(evaluate_sets(labels, ~sets, 0.95, calibration_samples=1000))
    assert "within noise of the test samples" in str(evaluate_sets(labels, sets, 0.135))


def test_parts_below_chance_are_named() -> None:
    labels = torch.arange(3).repeat(200)
    sets = labels[:, None] == torch.tensor([[0, 1, 5]])
    text = str(evaluate_sets(labels, sets, 0.2))
    assert "By class coverage is off by up to 80.0 %, below it beyond chance in 1 of 3 (2)." in text
    full = str(evaluate_sets(labels, torch.ones_like(sets), 0.2))
    assert "By class coverage is off by up to 20.0 %, nowhere beyond chance." in full


def test_one_sample_and_plain_values(generator: torch.Generator) -> None:
    one = evaluate_sets(torch.tensor([1]), torch.tensor([[False, True]]), 0.1)
    assert one.coverage.value == 1
    assert one.mean_size.high == float("inf")
    plain = json.loads(json.dumps(one.to_dict()))
    assert plain["by_class"]["names"] == ["1"]
    assert plain["mean_size"]["high"] is None
    assert set(one.units) <= set(plain)


def test_the_chart_shows_every_part_and_what_is_agreed(generator: torch.Generator) -> None:
    pytest.importorskip("altair", reason="needs the report extra")
    logits = 2 * torch.randn(400, 5, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    sets = LAC(0.2).fit(labels[:200], logits=logits[:200]).predict_set(logits=logits[200:])
    report = evaluate_sets(labels[200:], sets, 0.2, groups=torch.arange(200) % 2)
    chart = report.plot().to_dict()
    agreed, dots, _ = chart["layer"]
    assert agreed["data"]["values"] == [{"coverage": 0.8}]
    parts = [row["part"] for row in dots["data"]["values"]]
    assert parts[0] == "all"
    assert parts[-2:] == ["group 0", "group 1"]


def test_bad_input_is_refused() -> None:
    sets, labels = torch.ones(3, 2, dtype=torch.bool), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match="alpha must lie"):
        evaluate_sets(labels, sets, 0)
    with pytest.raises(TypeError):
        evaluate_sets(labels, sets.double(), 0.1)
    with pytest.raises(TypeError, match=r"float64 of shape \(3, 2\); convert with sets.bool\(\)$"):
        evaluate_sets.__wrapped__(labels, sets.double(), 0.1)
    with pytest.raises(ValueError, match="labels must lie"):
        evaluate_sets(labels + 2, sets, 0.1)
    with pytest.raises(ValueError, match=r"groups must be .* got torch.int64 of shape \(3,\) with least number -1$"):
        evaluate_sets(labels, sets, 0.1, groups=labels - 1)
    with pytest.raises(TypeError, match="N >= 1"):
        evaluate_sets(labels[:0], sets[:0], 0.1)
