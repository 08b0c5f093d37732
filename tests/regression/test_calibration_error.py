"""Calibration errors of PITs: closed forms, slow twins, end cases and refusals."""

import math

import pytest
import torch
from oracles import regression as oracle

from trueline.regression import probabilistic_calibration_error, sorted_calibration_error


def test_an_even_grid_has_no_sorted_error() -> None:
    pit = torch.arange(1, 8, dtype=torch.float64) / 8
    assert sorted_calibration_error(pit.flip(0)).item() == 0


def test_pits_at_one_half_have_error_one_quarter_in_the_limit() -> None:
    pit = torch.full((5,), 0.5)
    for levels in (9, 99, 9999):
        # Half of the levels lie below 1/2 and count as they are, the others as their distance from 1.
        exact = sum(min(j, levels + 1 - j) for j in range(1, levels + 1)) / (levels + 1) / levels
        assert probabilistic_calibration_error(pit, levels=levels).item() == pytest.approx(exact, rel=1e-12)
    assert exact == pytest.approx(0.25, abs=1e-4)


@pytest.mark.parametrize("power", [1, 2, 0.5])
def test_the_slow_twins_agree(generator: torch.Generator, power: float) -> None:
    pit = torch.rand(37, generator=generator, dtype=torch.float64)
    pit[:6] = 0.4  # ties, at a level
    for levels in (1, 4, 99):
        expected = oracle.calibration_error(pit.tolist(), levels, power)
        assert probabilistic_calibration_error(pit, levels=levels, power=power).item() == pytest.approx(expected)
    expected = oracle.sorted_calibration_error(pit.tolist(), power)
    assert sorted_calibration_error(pit, power=power).item() == pytest.approx(expected)


def test_order_and_mirror_do_not_matter(generator: torch.Generator) -> None:
    pit = torch.rand(40, generator=generator, dtype=torch.float64)
    for error in (probabilistic_calibration_error, sorted_calibration_error):
        assert error(pit).item() == pytest.approx(error(pit.flip(0)).item(), rel=1e-12)
        assert error(pit).item() == pytest.approx(error(1 - pit).item(), rel=1e-9)


def test_one_pit_and_ends_are_fine() -> None:
    for value in (0.0, 1.0):
        assert probabilistic_calibration_error(torch.tensor([value])).item() == pytest.approx(0.5)
        assert sorted_calibration_error(torch.tensor([value])).item() == 0.5


@pytest.mark.parametrize("error", [probabilistic_calibration_error, sorted_calibration_error])
def test_bad_input_is_refused(error) -> None:
    for bad in (torch.zeros(0), torch.tensor([1.5]), torch.tensor([-0.1]), torch.tensor([math.nan])):
        with pytest.raises(ValueError, match="pit must"):
            error(bad)
    with pytest.raises(TypeError):
        error(torch.tensor([1]))
    with pytest.raises(ValueError, match="power must be positive"):
        error(torch.tensor([0.5]), power=0)
    with pytest.raises(ValueError, match="levels must be at least 1"):
        probabilistic_calibration_error(torch.tensor([0.5]), levels=0)
