"""Spline recalibration: identity, the slow twin, run-outs against SciPy, hard cases."""

import math

import pytest
import torch
from oracles import binning_maps as oracle
from scipy.interpolate import CubicSpline

from trueline.calibrate import SplineCalibration
from trueline.calibrate._spline import curvature_of_knots, spline_basis
from trueline.contracts import check_calibrator, facts_of


def _draw(generator: torch.Generator, samples: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    odds = 2 * torch.randn(samples, generator=generator)
    return torch.bernoulli((odds / 2).sigmoid(), generator=generator).long(), odds.double()


def test_it_keeps_the_contract() -> None:
    check_calibrator(SplineCalibration)


def test_no_error_leaves_every_probability_as_it_is() -> None:
    # Within each tie as many are right as it says, so the accumulated error is zero at its ends and its middle.
    probs = torch.tensor([0.25, 0.5, 0.75]).repeat_interleave(4).double()
    labels = torch.tensor([0, 1, 0, 0, 0, 1, 1, 0, 1, 1, 0, 1])
    fitted = SplineCalibration(laplace=0).fit(labels, probs=probs)
    asked = torch.linspace(0.001, 0.999, 50).double()
    assert torch.allclose(fitted.predict_proba(probs=asked)[:, 1], asked, atol=1e-12)


def test_a_calibrated_model_is_changed_by_noise_only(generator: torch.Generator) -> None:
    probs = torch.rand(20_000, generator=generator, dtype=torch.float64)
    labels = torch.bernoulli(probs, generator=generator).long()
    moved = SplineCalibration(laplace=0).fit(labels, probs=probs).predict_proba(probs=probs)[:, 1] - probs
    assert moved.abs().max() < 0.05
    assert moved.abs().mean() < 0.01


def test_a_constant_error_is_taken_off() -> None:
    # All scores too high by exactly 0.2: D falls on a straight line, which every spline holds.
    probs = torch.full((50,), 0.7).double()
    labels = torch.tensor([1] * 25 + [0] * 25)
    with pytest.warns(UserWarning, match="log loss on the samples"):  # one score says nothing of a slope
        fitted = SplineCalibration(laplace=0).fit(labels, probs=probs)
    assert fitted.corrections_.tolist()[0] == pytest.approx([fitted.corrections_[0, 0].item()] * 2)
    spread = torch.linspace(0.3, 0.9, 1000).double()
    frequency = spread - 0.2
    both = torch.cat([spread, spread])
    weight = torch.cat([frequency, 1 - frequency])
    hits = torch.tensor([1] * 1000 + [0] * 1000)
    fitted = SplineCalibration(laplace=0).fit(hits, probs=both, weight=weight)
    asked = torch.linspace(0.25, 0.95, 30).double()
    assert torch.allclose(fitted.predict_proba(probs=asked)[:, 1], asked - 0.2, atol=1e-6)


@pytest.mark.parametrize("knots", [3, 6])
def test_the_slow_twin_agrees(generator: torch.Generator, knots: int) -> None:
    labels, odds = _draw(generator)
    fitted = SplineCalibration(knots=knots, laplace=0).fit(labels, logits=odds)
    expected = oracle.spline_corrections(odds.sigmoid().tolist(), labels.tolist(), knots)
    got = dict(zip(fitted.scores_[0].tolist(), fitted.corrections_[0].tolist(), strict=True))
    assert [got[s] for s in odds.tolist()] == pytest.approx(expected, abs=1e-9)
    corrected = (odds.sigmoid() + torch.tensor(expected, dtype=torch.float64)).clamp(0, 1)
    assert torch.allclose(fitted.predict_proba(logits=odds)[:, 1], corrected, atol=1e-9)


@pytest.mark.parametrize(("runout", "ends"), [("natural", "natural"), ("cubic", "not-a-knot")])
def test_the_splines_are_scipys(generator: torch.Generator, runout: str, ends: str) -> None:
    values = torch.randn(7, generator=generator, dtype=torch.float64)
    peer = CubicSpline(torch.linspace(0, 1, 7, dtype=torch.float64).numpy(), values.numpy(), bc_type=ends)
    at = torch.linspace(0, 1, 101, dtype=torch.float64)[None]
    second = torch.cat([torch.eye(7, dtype=torch.float64), curvature_of_knots(7, runout)])
    for basis, order in zip(spline_basis(at, 7), (0, 1), strict=True):
        got = (basis @ second @ values)[0]
        assert torch.allclose(got, torch.from_numpy(peer(at[0].numpy(), order)), atol=1e-10)


def test_a_parabolic_runout_is_quadratic_at_the_ends(generator: torch.Generator) -> None:
    curvature = curvature_of_knots(6, "parabolic") @ torch.randn(6, generator=generator, dtype=torch.float64)
    assert curvature[0].item() == pytest.approx(curvature[1].item())
    assert curvature[-1].item() == pytest.approx(curvature[-2].item())
    assert curvature[1].item() != pytest.approx(curvature[2].item())


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="knots must be at least 3, got 2"):
        SplineCalibration(knots=2)
    with pytest.raises(ValueError, match="knots must be at least 4, got 3"):
        SplineCalibration(knots=3, runout="cubic")
    with pytest.raises((ValueError, TypeError)):
        SplineCalibration(runout="clamped")
    with pytest.raises(ValueError, match="laplace"):
        SplineCalibration(laplace=math.nan)


def test_the_facts_name_the_paper() -> None:
    assert facts_of(SplineCalibration).references[0].arxiv == "2006.12800"
    assert SplineCalibration().n_parameters(2) is None
