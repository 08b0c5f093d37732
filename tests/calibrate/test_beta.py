"""Beta calibration: its identities, the exact constraint, a density it is right for, and the slow twin."""

import pytest
import torch
from oracles import recalibration_maps as oracle

from trueline.calibrate import BetaCalibration, PlattScaling
from trueline.contracts import check_calibrator


def _draw(generator: torch.Generator, samples: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of class 1 and labels, true log-odds 1.5 ln p - 0.7 ln(1 - p) + 0.2."""
    probs = torch.rand(samples, generator=generator, dtype=torch.float64)
    honest = (1.5 * probs.log() - 0.7 * torch.log1p(-probs) + 0.2).sigmoid()
    return torch.bernoulli(honest, generator=generator).long(), probs


def test_it_keeps_the_contract() -> None:
    check_calibrator(BetaCalibration)


def test_three_groups_get_their_frequencies() -> None:
    probs = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64).repeat_interleave(40)
    labels = torch.tensor([0] * 36 + [1] * 4 + [0] * 20 + [1] * 20 + [0] * 10 + [1] * 30)
    fitted = BetaCalibration().fit(labels, probs=probs).predict_proba(probs=probs)[::40, 1].tolist()
    assert fitted == pytest.approx([1 / 10, 1 / 2, 3 / 4], abs=1e-6)


def test_calibrated_groups_give_the_identity() -> None:
    probs = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64).repeat_interleave(10)
    labels = torch.tensor([0] * 8 + [1] * 2 + [0] * 5 + [1] * 5 + [0] * 1 + [1] * 9)
    beta = BetaCalibration().fit(labels, probs=probs)
    assert [v.item() for v in (beta.first_, beta.second_, beta.intercept_)] == pytest.approx([1, 1, 0], abs=1e-7)


def test_symmetric_data_are_platt_scaling(generator: torch.Generator) -> None:
    # Swapping the classes swaps a and b, so with both orders in the data a = b and c = 0.
    labels, probs = _draw(generator)
    labels, probs = torch.cat([labels, 1 - labels]), torch.cat([probs, 1 - probs])
    beta, platt = (m.fit(labels, probs=probs) for m in (BetaCalibration(), PlattScaling(smoothing=False)))
    assert beta.first_.item() == pytest.approx(beta.second_.item(), rel=1e-9)
    assert beta.first_.item() == pytest.approx(platt.slope_.item(), rel=1e-6)


def test_it_finds_the_map_that_made_the_labels(generator: torch.Generator) -> None:
    labels, probs = _draw(generator, 40_000)
    beta = BetaCalibration().fit(labels, probs=probs)
    assert [v.item() for v in (beta.first_, beta.second_, beta.intercept_)] == pytest.approx([1.5, 0.7, 0.2], abs=0.08)


def test_the_slow_twin_has_no_slope_there(generator: torch.Generator) -> None:
    labels, probs = _draw(generator)
    beta = BetaCalibration().fit(labels, probs=probs)
    features = list(zip(probs.log().tolist(), (-torch.log1p(-probs)).tolist(), [1.0] * len(probs), strict=True))
    at = [beta.first_.item(), beta.second_.item(), beta.intercept_.item()]
    slopes = oracle.gradient(lambda p: oracle.logistic_loss(features, labels.tolist(), p), at)
    assert max(map(abs, slopes)) < 1e-8


@pytest.mark.parametrize(("first", "second"), [(-0.5, 1.0), (1.0, -0.5), (-0.5, -0.5)])
def test_the_constrained_minimum_is_exact(generator: torch.Generator, first: float, second: float) -> None:
    probs = torch.rand(400, generator=generator, dtype=torch.float64)
    honest = (first * probs.log() - second * torch.log1p(-probs)).sigmoid()
    labels = torch.bernoulli(honest, generator=generator).long()
    beta = BetaCalibration().fit(labels, probs=probs)
    at = [beta.first_.item(), beta.second_.item(), beta.intercept_.item()]
    assert min(at[:2]) == 0  # exactly on the edge
    features = list(zip(probs.log().tolist(), (-torch.log1p(-probs)).tolist(), [1.0] * len(probs), strict=True))
    slopes = oracle.gradient(lambda p: oracle.logistic_loss(features, labels.tolist(), p), at)
    for value, slope in zip(at[:2], slopes[:2], strict=True):  # the conditions of Karush, Kuhn and Tucker
        assert slope == pytest.approx(0, abs=1e-8) if value > 0 else slope > -1e-8
    assert slopes[2] == pytest.approx(0, abs=1e-8)


def test_the_map_increases(generator: torch.Generator) -> None:
    for seed in range(5):
        labels, probs = _draw(torch.Generator().manual_seed(seed), 30)
        points = torch.linspace(0, 1, 101, dtype=torch.float64)
        beta = BetaCalibration().fit(labels, probs=probs)
        mapped = beta.predict_proba(probs=points)[:, 1]
        assert (mapped.diff() >= 0).all()


def test_few_samples_are_warned_of(generator: torch.Generator) -> None:
    labels, probs = _draw(generator, 29)
    with pytest.warns(UserWarning, match="29 samples, fewer than 10 for each of 3 numbers"):
        BetaCalibration().fit(labels, probs=probs)
