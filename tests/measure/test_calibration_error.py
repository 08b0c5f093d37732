"""Calibration errors: cases worked by hand, inequalities, invariances, the slow twin and an independent package."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import calibration as oracle

from trueline.measure import calibration_error, confidence_gap
from trueline.measure._calibration_error import from_top_label


def _draw(generator: torch.Generator, samples: int = 300, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((0.5 * logits).softmax(dim=1), 1, generator=generator).squeeze(1)
    return labels, logits


def _binary(confidence: list[float]) -> torch.Tensor:
    top = torch.tensor(confidence, dtype=torch.float64)
    return torch.stack([top, 1 - top], dim=1)


@st.composite
def problems(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels, and probabilities with many ties, ones and zeros."""
    rows = draw(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3).filter(any), min_size=1, max_size=30))
    labels = draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    counts = torch.tensor(rows, dtype=torch.float64)
    return torch.tensor(labels), counts / counts.sum(dim=1, keepdim=True)


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    error = calibration_error(torch.tensor([0, 1]), probs=_binary([0.95, 1.0]), bins=10)
    assert error.item() == pytest.approx(0.475, abs=1e-12)  # 0.525 with a bin of its own for 1.0


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("norm", [1, 2, math.inf])
@pytest.mark.parametrize("bins", [1, 2, 15, 100])
def test_a_constant_score_gives_its_distance_from_the_mean(binning: str, norm: float, bins: int) -> None:
    labels = torch.tensor([0] * 7 + [1] * 3)
    error = calibration_error(labels, probs=_binary([0.8] * 10), bins=bins, binning=binning, norm=norm)
    assert error.item() == pytest.approx(0.1, abs=1e-12)


def test_perfect_saturated_predictions_have_no_error() -> None:
    labels = torch.tensor([0, 1, 2])
    for given_as in ({"probs": torch.eye(3)}, {"logits": 1e4 * torch.eye(3)}):
        for options in ({}, {"classwise": True}, {"binning": "mass"}, {"norm": 2, "debias": True}):
            assert calibration_error(labels, **given_as, **options) == 0


@pytest.mark.parametrize("options", [{}, {"norm": 2}, {"norm": math.inf}, {"debias": True}, {"binning": "mass"}])
def test_one_sample_has_its_own_gap(options: dict[str, object]) -> None:
    error = calibration_error(torch.tensor([1]), probs=_binary([0.75]), **options)
    assert error.item() == pytest.approx(0.75, abs=1e-12)


@given(problem=problems(), bins=st.integers(1, 20), binning=st.sampled_from(["width", "mass"]))
@settings(deadline=None, max_examples=60)
def test_the_mean_gap_never_exceeds_the_error(problem, bins: int, binning: str) -> None:
    labels, probs = problem
    gap = confidence_gap(labels, probs=probs).mean().abs()
    errors = [
        calibration_error(labels, probs=probs, bins=bins, binning=binning, norm=norm) for norm in (1, 2, math.inf)
    ]
    for smaller, larger in zip([gap, *errors], errors, strict=False):
        assert smaller <= larger + 1e-12


@given(problem=problems(), bins=st.integers(1, 9), binning=st.sampled_from(["width", "mass"]))
@settings(deadline=None, max_examples=40)
def test_top_label_error_equals_the_slow_twin(problem, bins: int, binning: str) -> None:
    labels, probs = problem
    scores, predicted = zip(*oracle.top_labels(probs.tolist()), strict=True)
    hits = [float(p == y) for p, y in zip(predicted, labels.tolist(), strict=True)]
    index = (oracle.width_bins if binning == "width" else oracle.mass_bins)(scores, bins)
    for norm, debias in ((1, False), (2, False), (math.inf, False), (2, True)):
        expected = oracle.calibration_error(scores, hits, index, norm, debias)
        error = calibration_error(labels, probs=probs, bins=bins, binning=binning, norm=norm, debias=debias)
        tolerance = 1e-6 if debias else 1e-12  # the root magnifies the rounding of a difference near zero
        assert error.item() == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize(("norm", "debias"), [(1, False), (2, False), (math.inf, False), (2, True), (1, True)])
def test_classwise_is_the_mean_over_classes_of_the_slow_twin(
    generator: torch.Generator, binning: str, norm: float, debias: bool
) -> None:
    labels, logits = _draw(generator)
    probs = logits.softmax(dim=1)
    expected = 0.0
    for k in range(5):
        scores, hits = probs[:, k].tolist(), (labels == k).double().tolist()
        index = (oracle.width_bins if binning == "width" else oracle.mass_bins)(scores, 6)
        expected += oracle.calibration_error(scores, hits, index, norm, debias) / 5
    options = {"bins": 6, "binning": binning, "norm": norm, "debias": debias, "classwise": True}
    assert calibration_error(labels, probs=probs, **options).item() == pytest.approx(expected, abs=1e-7)
    assert calibration_error(labels, logits=logits, **options).item() == pytest.approx(expected, abs=1e-7)


@given(problem=problems(), bins=st.integers(1, 9), binning=st.sampled_from(["width", "mass"]), data=st.data())
@settings(deadline=None, max_examples=40)
def test_weighted_errors_equal_the_slow_twin(problem, bins: int, binning: str, data: st.DataObject) -> None:
    labels, probs = problem
    weights = data.draw(st.lists(st.integers(0, 4), min_size=len(labels), max_size=len(labels)).filter(any))
    scores, predicted = zip(*oracle.top_labels(probs.tolist()), strict=True)
    hits = [float(p == y) for p, y in zip(predicted, labels.tolist(), strict=True)]
    mass = binning == "mass"
    index = oracle.weighted_mass_bins(scores, bins, weights) if mass else oracle.width_bins(scores, bins)
    options = {"bins": bins, "binning": binning, "weight": torch.tensor(weights, dtype=torch.float32)}
    for norm, debias in ((1, False), (2, False), (math.inf, False), (2, True)):
        expected = oracle.calibration_error(scores, hits, index, norm, debias, weights)
        error = calibration_error(labels, probs=probs, norm=norm, debias=debias, **options)
        tolerance = 1e-6 if debias else 1e-12  # the root magnifies the rounding of a difference near zero
        assert error.item() == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("debias", [False, True])
def test_weighted_classwise_is_the_mean_of_one_class_at_a_time(
    generator: torch.Generator, binning: str, debias: bool
) -> None:
    labels, logits = _draw(generator)
    probs = logits.softmax(dim=1)
    weight = torch.rand(300, generator=generator)
    options = {"bins": 6, "binning": binning, "debias": debias}
    alone = [from_top_label(probs[:, k], labels == k, weight=weight, **options).item() for k in range(5)]
    error = calibration_error(labels, probs=probs, weight=weight, classwise=True, **options)
    assert error.item() == pytest.approx(sum(alone) / 5, abs=1e-12)


def test_debiased_norm_one_uses_the_folded_normal_mean(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    scores, predicted = zip(*oracle.top_labels(logits.softmax(dim=1).tolist()), strict=True)
    hits = [float(p == y) for p, y in zip(predicted, labels.tolist(), strict=True)]
    expected = oracle.calibration_error(scores, hits, oracle.width_bins(scores, 8), 1, True)
    assert calibration_error(labels, logits=logits, bins=8, debias=True).item() == pytest.approx(expected, abs=1e-7)


def test_debiasing_removes_what_a_calibrated_model_shows(generator: torch.Generator) -> None:
    options = [{"norm": norm, "debias": debias} for norm in (1, 2) for debias in (False, True)]
    errors = []
    for _ in range(200):
        scores = torch.rand(1000, generator=generator, dtype=torch.float64) / 2 + 0.5
        labels = (torch.rand(1000, generator=generator, dtype=torch.float64) >= scores).long()
        probs = torch.stack([scores, 1 - scores], dim=1)
        errors.append([calibration_error(labels, probs=probs, bins=30, **each).item() for each in options])
    one, one_debiased, two, two_debiased = np.array(errors).T
    # Fifteen bins are occupied, and p(1 - p) is 1/6 on average: the squared error is 15/6/1000 = .0025.
    assert np.mean(two**2) == pytest.approx(0.0025, abs=0.0002)
    assert np.mean(two_debiased**2) < 0.2 * np.mean(two**2)
    assert np.mean(one) == pytest.approx(0.038, abs=0.002)
    # Where the true gap is zero, the mean of |N(gap, s²)| over observed gaps is √2 times that of |gap|.
    assert np.mean(one_debiased) / np.mean(one) == pytest.approx(2 - math.sqrt(2), abs=0.02)


@pytest.mark.parametrize("options", [{}, {"binning": "mass"}, {"classwise": True}, {"norm": 2, "debias": True}])
def test_neither_the_order_of_samples_nor_of_classes_matters(
    generator: torch.Generator, options: dict[str, object]
) -> None:
    labels, logits = _draw(generator)
    logits = logits.round()  # many ties between samples
    logits += torch.arange(5) / 7  # none within a row
    reference = calibration_error(labels, logits=logits, **options)
    rows = torch.randperm(300, generator=generator)
    assert calibration_error(labels[rows], logits=logits[rows], **options).item() == pytest.approx(reference.item())
    classes = torch.randperm(5, generator=generator)
    renamed = classes.argsort()[labels]
    assert calibration_error(renamed, logits=logits[:, classes], **options).item() == pytest.approx(reference.item())


def test_logits_and_their_softmax_agree_and_shifts_do_not_matter(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    reference = calibration_error(labels, logits=logits).item()
    assert calibration_error(labels, probs=logits.softmax(dim=1)).item() == pytest.approx(reference, abs=1e-14)
    assert calibration_error(labels, logits=logits + 37).item() == pytest.approx(reference, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_saturated_probability_stays_exactly_one(dtype: torch.dtype) -> None:
    probs = torch.eye(2, dtype=dtype)[[0, 0, 0, 0]]
    assert calibration_error(torch.tensor([0, 0, 0, 1]), probs=probs).item() == 0.25


def test_decimals_on_an_edge_bin_alike_in_single_and_double_precision() -> None:
    confidence = torch.tensor([0.6, 0.7, 0.8, 0.9])
    labels = torch.tensor([0, 1, 0, 1])
    for dtype in (torch.float32, torch.float64):
        probs = torch.stack([confidence, 1 - confidence], dim=1).to(torch.float64).round(decimals=6).to(dtype)
        error = calibration_error(labels, probs=probs, bins=10, norm=math.inf).item()
        assert error == pytest.approx(0.9, abs=1e-6)
        pairs = calibration_error(labels, probs=probs, bins=5).item()  # (.4, .6], (.6, .8], (.8, 1]
        assert pairs == pytest.approx((0.4 + abs(1.5 - 1) + 0.9) / 4, abs=1e-6)


def test_netcal_agrees_away_from_edges(generator: torch.Generator) -> None:
    netcal = pytest.importorskip("netcal.metrics")
    labels, logits = _draw(generator, 2000)
    probs = logits.softmax(dim=1)
    for bins in (5, 15):
        theirs = netcal.ECE(bins).measure(probs.numpy(), labels.numpy())
        assert calibration_error(labels, probs=probs, bins=bins).item() == pytest.approx(theirs, abs=1e-12)


def test_classwise_refuses_logits_beside_probabilities(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    with pytest.raises(ValueError, match="exactly one of logits= and probs=, got both"):
        calibration_error(labels, logits=logits, probs=logits.softmax(dim=1), classwise=True)


def test_the_gradient_of_the_predictions_is_not_needed(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    logits.requires_grad_()
    for options in ({}, {"binning": "mass"}, {"classwise": True}, {"classwise": True, "binning": "mass"}):
        assert not calibration_error(labels, logits=logits, **options).requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": 3}, "norm must be 1, 2 or math.inf, got 3"),
        ({"norm": math.inf, "debias": True}, "debias is defined for norm=1 and norm=2"),
        ({"bins": 0}, "bins must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibration_error(torch.tensor([0]), probs=_binary([0.7]), **options)


def test_labels_that_are_no_class_are_refused() -> None:
    for classwise in (False, True):
        with pytest.raises(ValueError, match=r"labels must lie in \[0, 1\]"):
            calibration_error(torch.tensor([2]), probs=_binary([0.7]), classwise=classwise)
