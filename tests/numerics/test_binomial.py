"""The fair coin: counted outcomes, symmetry, scipy, and the far tail."""

import itertools
import math
from fractions import Fraction

import pytest

from trueline.numerics._binomial import fair_coin_p_value


@pytest.mark.parametrize("trials", range(9))
def test_it_is_the_share_of_outcomes_at_least_as_lopsided(trials: int) -> None:
    outcomes = [sum(faces) for faces in itertools.product([0, 1], repeat=trials)]
    for successes in range(trials + 1):
        far = [heads for heads in outcomes if abs(2 * heads - trials) >= abs(2 * successes - trials)]
        assert fair_coin_p_value(successes, trials) == pytest.approx(len(far) / len(outcomes), rel=1e-15)


def test_heads_and_tails_are_alike_and_the_middle_is_no_surprise() -> None:
    for successes in range(102):
        assert fair_coin_p_value(successes, 101) == fair_coin_p_value(101 - successes, 101)
    assert fair_coin_p_value(0, 0) == 1
    assert fair_coin_p_value(50, 100) == fair_coin_p_value(50, 101) == fair_coin_p_value(51, 101) == 1
    assert fair_coin_p_value(49, 100) < 1


@pytest.mark.parametrize("trials", [1, 2, 16, 64, 333, 4096])
def test_it_is_scipys(trials: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    for successes in {0, 1, trials // 7, trials // 3, (trials - 1) // 2, trials // 2, trials - 1, trials}:
        expected = stats.binomtest(successes, trials).pvalue
        assert fair_coin_p_value(successes, trials) == pytest.approx(expected, rel=1e-10, abs=1e-300)


def test_the_far_tail_is_exact() -> None:
    exact = Fraction(2 * sum(math.comb(1000, k) for k in range(31)), 2**1000)
    assert fair_coin_p_value(970, 1000) == pytest.approx(float(exact), rel=1e-14)
    assert fair_coin_p_value(0, 64) == 2.0**-63
    assert fair_coin_p_value(0, 5000) == 0.0
    assert 0 < fair_coin_p_value(49_000, 100_000) < 1e-9


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3), (0, -1)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=r"successes must lie in \[0, trials\]"):
        fair_coin_p_value(successes, trials)
