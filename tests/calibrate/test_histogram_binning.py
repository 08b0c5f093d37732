"""Histogram binning: shares by hand, ties, weights, empty bins, the slow twin, netcal and real predictions."""

import numpy as np
import pytest
import torch
from oracles import binning_maps as oracle

from trueline.calibrate import HistogramBinning
from trueline.contracts import check_calibrator, facts_of
from trueline.measure import accuracy, brier, calibration_error


def _draw(generator: torch.Generator, samples: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    odds = 2 * torch.randn(samples, generator=generator)
    return torch.bernoulli((odds / 2).sigmoid(), generator=generator).long(), odds.double()


@pytest.mark.parametrize("binning", ["mass", "width"])
def test_it_keeps_the_contract(binning: str) -> None:
    check_calibrator(lambda: HistogramBinning(bins=7, binning=binning))


def test_one_bin_is_the_base_rate(generator: torch.Generator) -> None:
    labels, odds = _draw(generator)
    for binning in ("mass", "width"):
        probs = HistogramBinning(bins=1, binning=binning, laplace=0).fit(labels, logits=odds).predict_proba(logits=odds)
        assert torch.allclose(probs[:, 1], labels.double().mean().expand(200))


def test_as_many_bins_as_scores_return_the_labels(generator: torch.Generator) -> None:
    labels, odds = _draw(generator, 50)
    probs = HistogramBinning(bins=50, laplace=0).fit(labels, logits=odds).predict_proba(logits=odds)
    assert torch.allclose(probs[:, 1], labels.double(), atol=1e-300)


def test_an_edge_belongs_to_the_bin_below_and_an_empty_bin_keeps_its_centre() -> None:
    labels, probs = torch.tensor([0, 1, 1, 0]), torch.tensor([0.2, 0.2, 0.5, 1.0]).double()
    binning = HistogramBinning(bins=5, binning="width", laplace=0).fit(labels.repeat(5), probs=probs.repeat(5))
    asked = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0]).double()
    expected = [0.5, 0.5, 0.5, 0.3, 0.3, 1.0, 0.7, 0.7, 0.0, 0.0]
    assert binning.predict_proba(probs=asked)[:, 1].tolist() == pytest.approx(expected)


def test_ties_are_never_parted() -> None:
    probs = torch.tensor([0.1, 0.5, 0.5, 0.5, 0.9, 0.9]).double()
    labels = torch.tensor([0, 1, 0, 0, 1, 1])
    binning = HistogramBinning(bins=3, laplace=0).fit(labels.repeat(4), probs=probs.repeat(4))
    assert binning.predict_proba(probs=probs)[:, 1].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 1, 1])
    constant = HistogramBinning(bins=3, laplace=0).fit(torch.tensor([0, 1, 1]).repeat(7), probs=torch.full((21,), 0.3))
    assert constant.predict_proba(probs=torch.tensor([0.01, 0.99]))[:, 1].tolist() == pytest.approx([2 / 3] * 2)


def test_a_heavy_tie_at_either_end_still_leaves_two_bins() -> None:
    for value, other in ((0.9, 0.1), (0.1, 0.9)):
        probs = torch.tensor([value] * 18 + [other] * 2).double()
        labels = torch.tensor([1] * 18 + [0] * 2)
        got = HistogramBinning(bins=2, laplace=0).fit(labels, probs=probs).predict_proba(probs=probs)
        assert torch.allclose(got[:, 1], labels.double(), atol=1e-300)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_slow_twin_agrees(generator: torch.Generator, weighted: bool) -> None:
    labels, odds = _draw(generator, 60)
    odds = odds.round(decimals=1)
    weight = torch.rand(60, generator=generator, dtype=torch.float64) if weighted else None
    plain = None if weight is None else weight.tolist()
    exact = odds.float().double().tolist()
    for bins in (2, 7, 15):
        edges = oracle.cuts(exact, bins, plain)
        fitted = HistogramBinning(bins=bins, laplace=0).fit(labels, logits=odds, weight=weight)
        assert fitted.edges_[0].tolist() == pytest.approx(edges)
        levels = oracle.means(exact, labels.tolist(), edges, plain)
        for got, expected in zip(fitted.levels_[0].tolist(), levels, strict=True):
            assert expected is None or got == pytest.approx(expected)


def test_netcal_bins_of_equal_width_alike(generator: torch.Generator) -> None:
    from netcal.binning import HistogramBinning as Peer

    labels, odds = _draw(generator)
    probs = odds.sigmoid()
    peer = Peer(bins=8)
    peer.fit(probs.numpy(), labels.numpy())
    fitted = HistogramBinning(bins=8, binning="width", laplace=0).fit(labels, probs=probs)
    asked = torch.rand(300, generator=generator, dtype=torch.float64)
    expected = torch.from_numpy(peer.transform(asked.numpy()))
    assert torch.allclose(fitted.predict_proba(probs=asked)[:, 1], expected, atol=1e-9)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        HistogramBinning(bins=0)
    with pytest.raises((ValueError, TypeError)):
        HistogramBinning(binning="quantile")
    with pytest.raises(ValueError, match="laplace"):
        HistogramBinning(laplace=-1)


def test_the_facts_name_the_paper() -> None:
    assert facts_of(HistogramBinning).references[0].year == 2001
    assert HistogramBinning(bins=4).n_parameters(2) == 8
    assert HistogramBinning(bins=4).n_parameters(3) == 22


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("cifar10-wrn16x4-probs", (0.8654, 0.3299, 0.1489, 0.0228, 8.07)),
        ("cifar100-densenet-probs", (0.4226, 1.732, 0.5698, 0.0373, 2.82)),
    ],
)
def test_real_predictions_give_the_independent_scores(shared_data, name: str, published: tuple[float, ...]) -> None:
    """The independent code splits ties by position, so agreement is close but not exact."""
    with np.load(shared_data / "predictions" / f"{name}.npz") as file:
        labels, probs = torch.tensor(file["labels"]), torch.tensor(file["probs"]).double()
    got = HistogramBinning(laplace=0).fit(labels[:5000], probs=probs[:5000]).predict_proba(probs=probs[5000:])
    labels = labels[5000:]
    assert accuracy(labels, probs=got).mean().item() == pytest.approx(published[0], abs=1e-3)
    nll = -got.gather(1, labels[:, None]).clamp_min(1e-12).log().mean().item()
    assert nll == pytest.approx(published[1], abs=3e-3)
    assert brier(labels, probs=got).mean().item() == pytest.approx(published[2], abs=6e-4)
    assert float(calibration_error(labels, probs=got)) == pytest.approx(published[3], abs=6e-4)
    assert 1000 * float(calibration_error(labels, probs=got, classwise=True)) == pytest.approx(published[4], abs=0.05)
