"""The Kolmogorov-Smirnov error: cases worked by hand, inequalities, ties, and the slow twin."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import calibration as oracle

from trueline.measure import calibration_error, confidence_gap, ks_calibration_error
from trueline.measure._ks import from_top_label

SAMPLES = st.lists(
    st.tuples(st.integers(0, 8).map(lambda k: k / 8), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40
).filter(lambda rows: any(weight for *_, weight in rows))


def _columns(samples: list[tuple[float, bool, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    scores, hits, weights = zip(*samples, strict=True)
    return torch.tensor(scores, dtype=torch.float64), torch.tensor(hits), torch.tensor(weights, dtype=torch.float64)


def test_gaps_of_opposite_sign_do_not_hide_each_other() -> None:
    # Of 0.6 all are right, of 0.9 half: -0.4 a sample, then +0.4.
    confidence = torch.tensor([0.6, 0.6, 0.9, 0.9], dtype=torch.float64)
    hit = torch.tensor([True, True, True, False])
    assert from_top_label(confidence, hit).item() == pytest.approx(0.2, abs=1e-12)


def test_a_constant_confidence_gives_its_distance_from_the_accuracy() -> None:
    probs = torch.tensor([[0.8, 0.2]], dtype=torch.float64).expand(10, 2)
    labels = torch.tensor([0] * 7 + [1] * 3)
    assert ks_calibration_error(labels, probs=probs).item() == pytest.approx(0.1, abs=1e-12)


def test_saturated_predictions_reach_both_ends_of_the_range() -> None:
    assert ks_calibration_error(torch.tensor([0, 1]), probs=torch.eye(2)) == 0
    assert ks_calibration_error(torch.tensor([1, 0]), probs=torch.eye(2)) == 1


@given(samples=SAMPLES)
@settings(deadline=None, max_examples=100)
def test_it_equals_the_slow_twin(samples: list[tuple[float, bool, int]]) -> None:
    confidence, hit, weight = _columns(samples)
    scores, hits, weights = zip(*samples, strict=True)
    assert from_top_label(confidence, hit).item() == pytest.approx(oracle.ks_error(scores, hits), abs=1e-12)
    weighted = oracle.ks_error(scores, hits, weights)
    assert from_top_label(confidence, hit, weight=weight).item() == pytest.approx(weighted, abs=1e-12)


@given(samples=SAMPLES)
@settings(deadline=None, max_examples=60)
def test_the_mean_gap_never_exceeds_it_nor_it_the_error_of_the_finest_bins(samples) -> None:
    confidence, hit, _ = _columns(samples)
    error = from_top_label(confidence, hit).item()
    assert abs((confidence - hit.double()).mean().item()) <= error + 1e-12
    probs = torch.stack([confidence, 1 - confidence], dim=1)
    labels = (~hit).long()
    finest = calibration_error(labels, probs=probs, bins=8).item()  # one bin per value
    assert ks_calibration_error(labels, probs=probs).item() <= finest + 1e-12


def test_tied_confidences_are_taken_together_whatever_their_order() -> None:
    hit = torch.tensor([True, False] * 10)
    for order in (torch.arange(20), hit.long().argsort(), (~hit).long().argsort()):
        assert from_top_label(torch.full((20,), 0.5), hit[order]).item() == 0


def test_a_single_sample_has_its_own_gap() -> None:
    assert ks_calibration_error(torch.tensor([1]), probs=torch.tensor([[0.75, 0.25]])).item() == 0.75


def test_where_all_gaps_have_one_sign_it_is_the_mean_gap(predictions) -> None:
    labels, given_as = predictions("F1")
    gap = confidence_gap(labels, **given_as).mean().item()
    assert ks_calibration_error(labels, **given_as).item() == pytest.approx(gap, abs=1e-12)


def test_a_calibrated_model_shows_the_largest_deviation_of_a_random_walk(generator: torch.Generator) -> None:
    confidence = 0.5 + 1e-9 * torch.arange(1000, dtype=torch.float64)  # distinct, and half of the time right
    errors = [from_top_label(confidence, torch.rand(1000, generator=generator) < 0.5).item() for _ in range(300)]
    # The mean of max|W| over [0, 1] is sqrt(π/2) for Brownian motion W; a step here has deviation 1/2.
    expected = 0.5 * math.sqrt(math.pi / 2) / math.sqrt(1000)
    assert sum(errors) / 300 == pytest.approx(expected, rel=0.1)
