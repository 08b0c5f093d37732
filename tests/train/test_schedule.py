import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.train import learning_rate_factor


def test_cosine_begins_at_one_and_ends_at_zero_exactly() -> None:
    assert learning_rate_factor(0, total=7) == 1.0
    assert learning_rate_factor(7, total=7) == 0.0


def test_cosine_is_one_half_in_the_middle() -> None:
    assert learning_rate_factor(6, total=10, warmup=2) == pytest.approx(0.5, abs=1e-15)


@given(st.integers(1, 50), st.data())
def test_warm_up_is_linear_and_ends_at_exactly_one(warmup: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, warmup - 1))
    factor = learning_rate_factor(step, total=warmup + 5, warmup=warmup)
    assert factor == (step + 1) / warmup
    assert learning_rate_factor(warmup - 1, total=warmup + 5, warmup=warmup) == 1.0
    assert learning_rate_factor(warmup, total=warmup + 5, warmup=warmup) == 1.0


@given(st.integers(1, 100), st.data())
def test_cosine_follows_its_closed_form_after_the_warm_up(total: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, total - 1))
    step = data.draw(st.integers(warmup, total))
    expected = math.cos(math.pi * (step - warmup) / (total - warmup) / 2) ** 2
    assert learning_rate_factor(step, total=total, warmup=warmup) == pytest.approx(expected, abs=1e-12)


def test_steps_fall_at_their_milestones() -> None:
    factors = [learning_rate_factor(s, total=6, shape="step", milestones=(2, 4), decay=0.5) for s in range(6)]
    assert factors == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_constant_stays_at_one() -> None:
    assert {learning_rate_factor(s, total=5, shape="constant") for s in range(6)} == {1.0}


def test_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"step must lie in \[0, 5\].*got 6"):
        learning_rate_factor(6, total=5)
    with pytest.raises(ValueError, match=r"warmup must lie in \[0, 4\].*got 5"):
        learning_rate_factor(0, total=5, warmup=5)
