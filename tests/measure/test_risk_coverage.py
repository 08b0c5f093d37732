"""The risk-coverage curve: closed forms, ties, weights, the mean over samples of the literature, chart and JSON."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import risk_coverage as oracle

from trueline.contracts import facts_of
from trueline.measure import risk_coverage
from trueline.measure._risk_coverage import from_top_label


def _binary(confidence: list[float], misses: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    top = torch.tensor(confidence, dtype=torch.float64)
    return torch.tensor(misses).long(), torch.stack([top, 1 - top], dim=1)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[float], list[float], list[float]]:
    """Confidences with many ties, errors, and whole weights."""
    n = draw(st.integers(1, 12))
    confidence = draw(st.lists(st.sampled_from([0.5, 0.6, 0.8, 0.9, 1.0]), min_size=n, max_size=n))
    misses = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n))
    weights = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    weights[draw(st.integers(0, n - 1))] = 2
    return confidence, misses, [float(w) for w in weights]


def test_a_case_worked_by_hand() -> None:
    """Right, wrong, right: risk 0, then (t - 1/3)/t, then (1/3)/t."""
    labels, probs = _binary([0.9, 0.8, 0.7], [0, 1, 0])
    curve = risk_coverage(labels, probs=probs)
    assert curve.coverage.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert curve.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3])
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7]
    area = 1 / 3 - math.log(2) / 3 + math.log(1.5) / 3
    assert curve.area == pytest.approx(area, abs=1e-15)
    assert curve.excess_area == pytest.approx(area - (1 / 3 + 2 / 3 * math.log(2 / 3)), abs=1e-15)
    assert curve.samples == 3
    assert curve.at(torch.tensor([0.0, 1 / 6, 0.5, 1.0])).tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3])


def test_a_confidence_that_says_nothing_has_the_error_rate_everywhere() -> None:
    labels, probs = _binary([0.8] * 10, [1] * 3 + [0] * 7)
    curve = risk_coverage(labels, probs=probs)
    assert (curve.coverage.tolist(), curve.risk.tolist()) == ([1], [0.3])
    assert curve.area == pytest.approx(0.3, abs=1e-15)
    assert curve.at(torch.rand(3, 4, dtype=torch.float64)).flatten().tolist() == pytest.approx([0.3] * 12)
    assert curve.at(torch.tensor(0.0)).item() == pytest.approx(0.3)  # the limit


def test_the_best_order_has_no_excess_and_the_worst_the_most() -> None:
    for n, wrong in ((1, 0), (1, 1), (10, 0), (10, 3), (10, 10)):
        confidence = torch.linspace(0.99, 0.51, n, dtype=torch.float64)
        last = torch.arange(n) >= n - wrong
        best, worst = from_top_label(confidence, ~last), from_top_label(confidence.flip(0), ~last)
        rate = wrong / n
        assert best.area == pytest.approx(rate + (1 - rate) * math.log1p(-rate) if rate < 1 else 1, abs=1e-14)
        assert best.excess_area == pytest.approx(0, abs=1e-14)
        assert worst.area == pytest.approx(rate - rate * math.log(rate) if rate else 0, abs=1e-14)
        assert all(0 <= curve.excess_area <= curve.area <= 1 for curve in (best, worst))


@given(problem=problems())
@settings(deadline=None, max_examples=40)
def test_curve_and_area_equal_the_slow_twin(problem) -> None:
    confidence, misses, weights = problem
    labels, probs = _binary(confidence, misses)
    curve = risk_coverage(labels, probs=probs, weight=torch.tensor(weights))
    wanted = [0.03, 0.2, 0.5, 0.77, 1.0]
    expected = [oracle.risk_at(confidence, misses, t, weights) for t in wanted]
    assert curve.at(torch.tensor(wanted, dtype=torch.float64)).tolist() == pytest.approx(expected, abs=1e-12)
    assert curve.area == pytest.approx(oracle.area(confidence, misses, weights, cells=500), abs=5e-3)
    assert torch.allclose(curve.at(curve.coverage), curve.risk, atol=1e-14)
    assert (curve.coverage.diff() > 0).all()
    assert (curve.threshold.diff() < 0).all()


def test_the_area_is_the_integral(generator: torch.Generator) -> None:
    confidence = torch.rand(60, generator=generator, dtype=torch.float64).mul(20).round() / 20
    hit = torch.rand(60, generator=generator, dtype=torch.float64) < confidence
    expected = oracle.area(confidence.tolist(), (~hit).double().tolist())
    assert from_top_label(confidence, hit).area == pytest.approx(expected, abs=1e-5)


@given(problem=problems())
@settings(deadline=None, max_examples=40)
def test_weights_are_repetitions_and_order_does_not_matter(problem) -> None:
    labels, probs = _binary(*problem[:2])
    weight = torch.tensor(problem[2], dtype=torch.float64)
    curve = risk_coverage(labels, probs=probs, weight=weight)
    times, present = weight.long(), weight > 0
    rows = torch.arange(len(weight)).flip(0)
    for same in (
        risk_coverage(labels.repeat_interleave(times), probs=probs.repeat_interleave(times, dim=0)),
        risk_coverage(labels[present], probs=probs[present], weight=weight[present]),
        risk_coverage(labels, probs=probs, weight=0.37 * weight),
        risk_coverage(labels[rows], probs=probs[rows], weight=weight[rows]),
    ):
        for name in ("coverage", "risk", "threshold"):
            assert torch.allclose(getattr(same, name), getattr(curve, name), atol=1e-12)
        assert (same.area, same.excess_area) == pytest.approx((curve.area, curve.excess_area), abs=1e-12)
    assert curve.samples == int(present.sum())
    ones = risk_coverage(labels, probs=probs, weight=torch.ones(len(weight)))
    assert ones.to_dict() == risk_coverage(labels, probs=probs).to_dict()


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
def test_the_mean_over_samples_differs_by_at_most_half_a_sample(generator: torch.Generator, n: int) -> None:
    for right in (0.0, 0.5, 0.9, 1.0):
        confidence = torch.randperm(n, generator=generator).double() / n
        hit = torch.rand(n, generator=generator) < right
        mean = oracle.mean_over_samples(confidence.tolist(), (~hit).double().tolist())
        assert abs(from_top_label(confidence, hit).area - mean) <= 0.5 / n + 1e-12


def test_it_depends_on_the_order_of_confidences_only_and_classes_may_be_renamed(generator: torch.Generator) -> None:
    logits = 3 * torch.randn(200, 4, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((0.5 * logits).softmax(dim=1), 1, generator=generator).squeeze(1)
    curve = risk_coverage(labels, logits=logits)
    assert risk_coverage(labels, probs=logits.softmax(dim=1)).area == pytest.approx(curve.area, abs=1e-14)
    assert risk_coverage(labels, logits=logits + 5).area == pytest.approx(curve.area, abs=1e-14)
    classes = torch.randperm(4, generator=generator)
    assert risk_coverage(classes.argsort()[labels], logits=logits[:, classes]).area == pytest.approx(curve.area)
    top, prediction = logits.softmax(dim=1).max(dim=1)
    assert from_top_label(top**3, prediction == labels).area == curve.area


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_saturated_confidences_tie_in_every_dtype(dtype: torch.dtype) -> None:
    probs = torch.eye(2, dtype=dtype)[[0, 0, 0, 0]]
    curve = risk_coverage(torch.tensor([0, 0, 0, 1]), probs=probs)
    assert (curve.coverage.tolist(), curve.risk.tolist(), curve.threshold.tolist()) == ([1], [0.25], [1])


def test_two_classes_may_come_as_one_column() -> None:
    labels, probs = _binary([0.9, 0.8, 0.7], [0, 1, 0])
    assert risk_coverage(labels, probs=probs[:, 1]).area == pytest.approx(risk_coverage(labels, probs=probs).area)


def test_real_predictions_rank_their_errors_better_than_chance(predictions) -> None:
    labels, given_as = predictions("F1")
    curve = risk_coverage(labels, **given_as)
    error = curve.risk[-1].item()
    assert error == pytest.approx(1 - 0.9109, abs=1e-12)
    best = error + (1 - error) * math.log1p(-error)
    assert best < curve.area < error / 2
    assert curve.excess_area == pytest.approx(curve.area - best, abs=1e-15)
    # A quarter of the confidences is exactly 1: one tie, one point of the curve.
    assert curve.threshold[0] == 1
    assert curve.coverage[0] == 0.2469


def test_the_dictionary_is_strict_json() -> None:
    labels, probs = _binary([0.9, 0.8, 0.8], [0, 1, 0])
    curve = risk_coverage(labels, probs=probs)
    loaded = json.loads(json.dumps(curve.to_dict(), allow_nan=False))
    assert loaded["risk"] == curve.risk.tolist()
    assert (loaded["area"], loaded["samples"]) == (curve.area, 3)


def test_the_chart_shows_the_curve_and_the_best_order() -> None:
    pytest.importorskip("altair")
    vl_convert = pytest.importorskip("vl_convert")
    labels, probs = _binary([0.9, 0.8, 0.7], [0, 1, 0])
    chart = risk_coverage(labels, probs=probs).plot().to_dict()
    rows = chart["data"]["values"]
    assert rows[-1] == pytest.approx({"coverage": 1, "risk": 1 / 3, "best": 1 / 3})
    assert all(row["best"] <= row["risk"] + 1e-12 for row in rows)
    svg = vl_convert.vegalite_to_svg(chart)
    assert svg.startswith("<svg")
    assert "coverage" in svg


def test_bad_input_is_refused() -> None:
    labels, probs = _binary([0.9, 0.8], [0, 1])
    with pytest.raises(ValueError, match="weight must be finite"):
        risk_coverage(labels, probs=probs, weight=torch.zeros(2))
    with pytest.raises(ValueError, match="exactly one"):
        risk_coverage(labels)
    with pytest.raises(ValueError, match="must be finite"):
        risk_coverage(labels, probs=probs * torch.nan)
    curve = risk_coverage(labels, probs=probs)
    for coverage in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"coverage must lie in \[0, 1\]"):
            curve.at(torch.tensor([coverage]))


def test_it_carries_its_references() -> None:
    facts = facts_of(risk_coverage)
    assert (facts.group, [reference.year for reference in facts.references]) == ("measure", [2010, 2019])
