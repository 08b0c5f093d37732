"""The risk-coverage curve of selective regression: slow twin, identities, order, ties and comparison of methods."""

import math

import pytest
import torch
from oracles import regression as oracle

from trueline.conformal import CQR, normalised_areas, selective_risk


def _toy(generator: torch.Generator, n: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise that grows with x, and intervals that know it."""
    x = torch.rand(n, generator=generator, dtype=torch.float64)
    y = 2 * x + 3 * x * torch.randn(n, generator=generator, dtype=torch.float64)
    return y, 2 * x, torch.stack([2 * x - 4 * x, 2 * x + 4 * x], dim=1)


def _ends(width: torch.Tensor) -> torch.Tensor:
    return torch.stack([-width / 2, width / 2], dim=1)


def test_the_slow_twin_gives_the_same_curve(generator: torch.Generator) -> None:
    y, mean = torch.randn(2, 30, generator=generator, dtype=torch.float64)
    width = torch.randint(1, 8, (30,), generator=generator).double()
    curve = selective_risk(y, mean=mean, interval=_ends(width))
    expected = oracle.selective_curve(y.tolist(), mean.tolist(), width.tolist())
    got = list(zip(curve.width.tolist(), curve.coverage.tolist(), curve.risk.tolist(), strict=True))
    assert got == [pytest.approx(point) for point in expected]
    area = oracle.selective_area(y.tolist(), mean.tolist(), width.tolist())
    assert curve.area == pytest.approx(area, abs=1e-4)


def test_rounding_does_not_tell_intervals_of_one_width_apart(generator: torch.Generator) -> None:
    y, mean = torch.randn(2, 300, generator=generator, dtype=torch.float64)
    curve = selective_risk(y, mean=mean, interval=torch.stack([mean - 0.7, mean + 0.7], dim=1))
    assert curve.width.tolist() == pytest.approx([1.4])
    assert "nothing to select by" in str(curve)


def test_errors_of_kept_points_fall_with_coverage(generator: torch.Generator) -> None:
    y, mean, interval = _toy(generator)
    curve = selective_risk(y, mean=mean, interval=interval)
    shares = curve.at(torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0]))
    assert (shares.diff() > 0).all()
    assert curve.area < 0.6
    assert curve.distance < 1
    assert curve.normalised_risk[-1] == 1


def test_a_constant_added_to_all_widths_changes_no_error(generator: torch.Generator) -> None:
    y, mean, interval = _toy(generator)
    first = selective_risk(y, mean=mean, interval=interval)
    second = selective_risk(y, mean=mean, interval=interval + torch.tensor([-1.0, 1.0]))
    assert torch.equal(first.risk, second.risk)
    assert first.area == second.area
    assert (second.held >= first.held).all()


def test_samples_of_one_width_are_accepted_little_by_little() -> None:
    y, mean = torch.zeros(4), torch.tensor([1.0, 2.0, 4.0, 3.0])
    curve = selective_risk(y, mean=mean, interval=_ends(torch.tensor([1.0, 2.0, 2.0, 3.0])))
    # Squared errors 1, then 4 and 16 as two of 10 each, then 9.
    wanted = torch.tensor([0.0, 0.25, 0.5, 0.75, 0.875, 1.0])
    assert curve.at(wanted).tolist() == pytest.approx([1, 1, 11 / 2, 21 / 3, 25.5 / 3.5, 30 / 4])


def test_equal_errors_have_the_area_of_chance() -> None:
    y = torch.zeros(7)
    for width in (torch.arange(7.0), torch.ones(7)):
        curve = selective_risk(y, mean=y + 2, interval=_ends(width))
        assert curve.area == pytest.approx(1)
        assert (curve.risk == 4).all()
    assert "nothing to select by" in str(curve)
    assert curve.distance == 1


def test_perfect_predictions_have_no_area() -> None:
    curve = selective_risk(torch.zeros(3), mean=torch.zeros(3), interval=_ends(torch.arange(3.0)))
    assert curve.area == 0
    assert curve.distance == 0
    assert curve.normalised_risk.tolist() == [0, 0, 0]


def test_coverage_among_the_accepted_is_not_the_guarantee(generator: torch.Generator) -> None:
    """Intervals of too little spread cover easy samples more often than hard ones, and the record shows it."""
    y, mean, interval = _toy(generator, 1000)
    half = (interval[:, 1] - interval[:, 0]).sqrt()
    given = {"lower": mean - half, "upper": mean + half}
    interval = CQR(0.1).fit(y, **given).predict_interval(**given)
    curve = selective_risk(y, mean=mean, interval=interval)
    assert 0.9 <= curve.held[-1] < 0.902
    assert curve.held_low[len(curve.held) // 3] > 0.9


def test_infinite_intervals_are_accepted_last() -> None:
    interval = torch.tensor([[-math.inf, math.inf], [0.0, 1.0]])
    curve = selective_risk(torch.zeros(2), mean=torch.tensor([3.0, 1.0]), interval=interval)
    assert curve.risk.tolist() == [1, 5]
    assert curve.to_dict()["width"] == [1.0, None]


def test_one_sample_is_enough() -> None:
    curve = selective_risk(torch.zeros(1), mean=torch.ones(1), interval=torch.tensor([[0.0, 1.0]]))
    assert (curve.coverage.item(), curve.risk.item(), curve.area) == (1, 1, 1)
    assert curve.at(torch.tensor(0.0)).item() == 1


def test_methods_are_compared_by_the_largest_error_at_each_coverage(generator: torch.Generator) -> None:
    y, mean, interval = _toy(generator)
    good = selective_risk(y, mean=mean, interval=interval)
    bad = selective_risk(y, mean=mean, interval=_ends(-(interval[:, 1] - interval[:, 0])))
    areas = normalised_areas({"good": good, "bad": bad, "again": good})
    assert areas["good"] == areas["again"] < areas["bad"] == 1
    with pytest.raises(ValueError, match="at least one curve"):
        normalised_areas({})


def test_the_record_is_drawn_and_says_what_it_does_not_promise(generator: torch.Generator) -> None:
    y, mean, interval = _toy(generator)
    curve = selective_risk(y, mean=mean, interval=interval)
    assert "does not cover accepted samples alone" in str(curve)
    assert set(curve.units) == set(curve.to_dict())
    assert curve.plot().to_dict()["layer"]


def test_bad_input_is_refused() -> None:
    y, interval = torch.zeros(3), torch.zeros(3, 2)
    with pytest.raises(ValueError, match="finite"):
        selective_risk(torch.full((3,), math.nan), mean=y, interval=interval)
    with pytest.raises(ValueError, match="shape"):
        selective_risk(y[:0], mean=y[:0], interval=interval[:0])
    with pytest.raises(ValueError, match="coverage must lie in"):
        selective_risk(y, mean=y, interval=interval).at(torch.tensor(1.5))
