"""Quantiles made valid level by level: order statistics, exact coverage, crossing and end cases."""

import math

import pytest
import torch
from oracles import regression as oracle

import trueline
from trueline.conformal import ConformalQuantileGrid


def test_each_level_is_its_own_order_statistic(generator: torch.Generator) -> None:
    levels = (0.05, 0.3, 0.5, 0.9)
    y, quantiles = torch.randn(40, generator=generator), torch.randn(40, 4, generator=generator).double()
    fitted = ConformalQuantileGrid(levels).fit(y, quantiles)
    errors = y.double()[:, None] - quantiles
    expected = [oracle.threshold(errors[:, i].tolist(), 1 - level) for i, level in enumerate(levels)]
    assert fitted.shift_.tolist() == expected
    moved = (quantiles + torch.tensor(expected, dtype=torch.float64)).sort(dim=1).values
    assert torch.equal(fitted.predict_quantiles(quantiles), moved)


def test_coverage_of_each_level_is_exact_on_average(generator: torch.Generator) -> None:
    # With one further sample, the rank of its error is uniform on 1..n + 1.
    levels, n, draws = (0.1, 0.5, 0.8), 14, 500
    y = torch.randn(draws, n + 1, generator=generator, dtype=torch.float64)
    hits = torch.zeros(3)
    for row in y:
        fitted = ConformalQuantileGrid(levels).fit(row[:-1], torch.zeros(n, 3))
        hits += row[-1] <= fitted.predict_quantiles(torch.zeros(1, 3))[0]
    for hit, level in zip(hits.tolist(), levels, strict=True):
        share = math.ceil((n + 1) * level - 1e-9) / (n + 1)
        assert abs(hit - draws * share) < 4.5 * math.sqrt(draws * share * (1 - share))


def test_levels_out_of_reach_are_infinite_and_named(generator: torch.Generator) -> None:
    y = torch.randn(9, generator=generator)
    with pytest.warns(UserWarning, match=r"9 calibration samples are too few for the levels \[0.95\]"):
        fitted = ConformalQuantileGrid((0.05, 0.9, 0.95)).fit(y, torch.zeros(9, 3))
    assert fitted.shift_[0].item() == y.min().item()
    assert fitted.shift_[1].item() == y.max().item()
    assert fitted.shift_[2].item() == math.inf


def test_it_saves_and_refits(generator: torch.Generator, tmp_path) -> None:
    y, quantiles = torch.randn(30, generator=generator), torch.zeros(30, 2)
    fitted = ConformalQuantileGrid((0.2, 0.7)).fit(y + 5, quantiles).fit(y, quantiles)
    read = trueline.load(fitted.save(tmp_path / "grid.safetensors"))
    assert repr(read) == repr(fitted)
    assert torch.equal(read.predict_quantiles(quantiles), fitted.predict_quantiles(quantiles))
    fresh = ConformalQuantileGrid((0.2, 0.7)).fit(y, quantiles)
    assert torch.equal(fresh.shift_, fitted.shift_)


@pytest.mark.parametrize("levels", [(), (0.5, 0.2), (0.2, 0.2), (0.0, 0.5), (0.5, 1.0)])
def test_impossible_levels_are_refused(levels: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="levels must be ascending numbers in \\(0, 1\\)"):
        ConformalQuantileGrid(levels).fit(torch.zeros(3), torch.zeros(3, len(levels)))


def test_bad_input_is_refused() -> None:
    grid = ConformalQuantileGrid((0.2, 0.7))
    with pytest.raises(RuntimeError, match="fit"):
        grid.predict_quantiles(torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"quantiles must have shape \(N, 2\)"):
        grid.fit(torch.zeros(3), torch.zeros(3, 3))
    with pytest.raises((ValueError, TypeError)):
        grid.fit(torch.zeros(4), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="y must be finite"):
        grid.fit(torch.full((3,), math.nan), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="quantiles must be finite"):
        grid.fit(torch.zeros(3), torch.full((3, 2), math.inf))
