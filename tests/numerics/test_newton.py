"""Roots of increasing functions: exact where they are known, fast where they are smooth, found where they are not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.numerics import newton_root


@given(root=st.floats(-4.9, 4.9), start=st.floats(-5, 5), power=st.sampled_from([1, 3, 5]))
def test_the_root_of_a_power_is_found_from_anywhere(root: float, start: float, power: int) -> None:
    found = newton_root(lambda x: ((x - root) ** power, power * (x - root) ** (power - 1)), -5, 5, start=start)
    assert abs(found - root) <= 1e-9 * 10 ** (power - 1)


def test_digits_double_with_every_step() -> None:
    evaluations = []

    def function(x: float) -> tuple[float, float]:
        evaluations.append(x)
        return math.exp(x) - 3, math.exp(x)

    assert newton_root(function, -16, 16, start=0) == pytest.approx(math.log(3), abs=1e-15)
    assert len(evaluations) <= 9
    errors = [abs(x - math.log(3)) for x in evaluations[-4:-1]]
    assert errors[1] < errors[0] ** 1.7
    assert errors[2] < errors[1] ** 1.7


@pytest.mark.parametrize("slope", [0.0, 1e-300, -1.0, math.nan, math.inf])
def test_wrong_derivatives_cost_time_and_no_accuracy(slope: float) -> None:
    found = newton_root(lambda x: (math.copysign(1.0, x - 0.3), slope), -16, 16, start=0)
    assert found == pytest.approx(0.3, abs=1e-9)


@pytest.mark.parametrize("factor", [1e-3, 0.4, 3.0, 1e3])
def test_derivatives_that_are_off_by_a_factor_never_lead_to_a_crawl(factor: float) -> None:
    evaluations = []

    def function(x: float) -> tuple[float, float]:
        evaluations.append(x)
        return x - 0.3, factor

    assert newton_root(function, -16, 16, start=0) == pytest.approx(0.3, abs=1e-9)
    assert len(evaluations) < 110  # twice the halvings from 32 to 1e-12, and a few


def test_steep_and_flat_functions_are_no_trap() -> None:
    for sharp in (1e-3, 1.0, 1e3, 1e6):
        found = newton_root(lambda x, k=sharp: (math.tanh(k * (x - 2)), k / math.cosh(min(k * abs(x - 2), 300)) ** 2),
                            -16, 16, start=-15)  # fmt: skip
        assert found == pytest.approx(2, abs=1e-9)


def test_one_sign_leads_to_an_end() -> None:
    assert newton_root(lambda _: (1.0, 0.0), -2, 3, start=0) == pytest.approx(-2, abs=1e-9)
    assert newton_root(lambda _: (-1.0, 0.0), -2, 3, start=0) == pytest.approx(3, abs=1e-9)


def test_a_root_at_the_start_needs_one_look() -> None:
    assert newton_root(lambda x: (x, 1.0), -1, 1, start=0) == 0


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(ValueError, match="low <= start <= high"):
        newton_root(lambda x: (x, 1.0), -1, 1, start=2)
    with pytest.raises(ValueError, match="NaN"):
        newton_root(lambda x: (math.nan, 1.0), -1, 1, start=0)
