"""Cells of nearly equal confidence: they know the measures of their samples, and resample as the samples would."""

import math

import pytest
import torch

from trueline.measure import (
    calibration_error,
    ks_calibration_error,
    read_outcomes,
    risk_coverage,
    smooth_calibration_error,
)
from trueline.measure._cells import gather_cells, statistics


def predictions(n: int, *, tied: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    logits = 2 * torch.randn(n, 4, generator=generator, dtype=torch.float64)
    logits = logits.round() if tied else logits
    return logits.softmax(1).multinomial(1, generator=generator).squeeze(1), 2 * logits


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_a_resample_that_is_the_sample_has_its_measures(tied: bool, weighted: bool) -> None:
    labels, logits = predictions(300, tied=tied)
    weight = torch.rand(300, generator=torch.Generator().manual_seed(1)).double() if weighted else None
    rows = read_outcomes(labels, logits=logits, weight=weight)
    cells = gather_cells(rows, 15)
    width = 0.03
    found = statistics(cells, cells.weight[None], cells.effective[None], (cells.weight * cells.accuracy)[None], width)
    given = {"logits": logits, "weight": weight}
    curve = risk_coverage(labels, **given)
    expected = {
        "mce": calibration_error(labels, **given, norm=math.inf).item(),
        "ace": calibration_error(labels, **given, binning="mass").item(),
        "ece_rms": calibration_error(labels, **given, norm=2).item(),
        "ks": ks_calibration_error(labels, **given).item(),
        "smooth_ece": smooth_calibration_error(labels, **given, width=width).item(),
        "aurc": curve.area,
        "excess_aurc": curve.excess_area,
    }
    if not weighted:  # the effective numbers of cells do not add up to those of bins
        expected["ece_debiased"] = calibration_error(labels, **given, binning="mass", norm=2, debias=True).item()
    # Where weights differ, light samples share a cell; where they do not, each of 300 has its own.
    loose = ("smooth_ece",) if not weighted else ("smooth_ece", "ks", "aurc", "excess_aurc")
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, abs=1e-3 if name in loose else 1e-12), name


def test_resamples_have_the_mean_and_spread_of_drawn_rows() -> None:
    labels, logits = predictions(4000, tied=False)
    cells = gather_cells(read_outcomes(labels, logits=logits), 15)
    assert len(cells.weight) < 600
    weight, number, hits = cells.resample(20_000, torch.Generator().manual_seed(0))
    assert torch.equal(weight, number)
    for drawn, expected in ((weight, cells.weight), (hits, cells.weight * cells.accuracy)):
        error = (expected / 20_000).sqrt().clamp_min(1e-9)  # of the mean of a Poisson variable
        assert ((drawn.mean(dim=0) - expected).abs() <= 5.5 * error).all()
        torch.testing.assert_close(drawn.var(dim=0), expected, rtol=0.08, atol=1e-9)


def test_weights_count_by_their_effective_number() -> None:
    labels, logits = predictions(200, tied=True)
    heavy = read_outcomes(labels, logits=logits, weight=torch.full((200,), 3.0))
    cells = gather_cells(heavy, 15)
    weight, number, _ = cells.resample(50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(weight, 3 * number)
    assert cells.effective.sum().item() == pytest.approx(200)


def test_no_cell_crosses_a_bin_or_cuts_a_tie() -> None:
    labels, logits = predictions(2000, tied=True)
    rows = read_outcomes(labels, logits=logits)
    cells = gather_cells(rows, 15)
    assert (cells.width_bin.diff() >= 0).all()
    assert (cells.mass_bin.diff() >= 0).all()
    assert len(cells.weight) <= len(rows.confidence.unique())
    for b in range(15):
        inside = (rows.confidence > b / 15) & (rows.confidence <= (b + 1) / 15)
        assert cells.weight[cells.width_bin == b].sum() == inside.sum()
