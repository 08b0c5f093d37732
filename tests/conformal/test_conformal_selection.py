"""Conformal selection: closed forms, ties, the slow twin, another package, and the share of false discoveries."""

from fractions import Fraction

import pytest
import torch
from oracles import conformal_selection as oracle
from scipy import stats

from trueline.conformal import benjamini_hochberg, conformal_selection, e_benjamini_hochberg
from trueline.contracts import facts_of


def _draw(generator: torch.Generator, n: int = 30, m: int = 12, ties: bool = False) -> tuple[torch.Tensor, ...]:
    truth = torch.randn(n + m, generator=generator, dtype=torch.float64)
    guess = truth + 0.7 * torch.randn(n + m, generator=generator, dtype=torch.float64)
    if ties:
        guess = guess.mul(2).round()
    return truth[:n] > 0.2, guess[:n], guess[n:], truth[n:] > 0.2


@pytest.mark.parametrize("ties", [False, True])
def test_the_slow_twin_selects_the_same(generator: torch.Generator, ties: bool) -> None:
    for _ in range(20):
        wanted, known, new, _ = _draw(generator, ties=ties)
        found = conformal_selection(wanted, known, new, level=0.3)
        expected = oracle.p_values(wanted.tolist(), known.tolist(), new.tolist())
        assert found.p_values.tolist() == pytest.approx([float(p) for p in expected])
        assert found.selected.tolist() == oracle.benjamini_hochberg(expected, Fraction(3, 10))


def test_the_adjusted_p_values_of_scipy_give_the_same_rejections(generator: torch.Generator) -> None:
    for _ in range(20):
        values = torch.rand(25, generator=generator, dtype=torch.float64).square()
        adjusted = torch.from_numpy(stats.false_discovery_control(values.numpy()))
        assert torch.equal(benjamini_hochberg(values, 0.2), adjusted <= 0.2)


def test_p_values_equal_to_their_limit_are_rejected() -> None:
    # 3/10·1/3 is 0.1 on paper and 0.09999999999999999 in binary.
    assert benjamini_hochberg(torch.tensor([0.1, 0.9, 0.9], dtype=torch.float64), 0.3).tolist() == [True, False, False]


def test_e_values_reject_as_p_values_of_their_reciprocals() -> None:
    e_values = torch.tensor([float("inf"), 15.0, 0.0, 3.0])
    assert e_benjamini_hochberg(e_values, 0.1).tolist() == [True, False, False, False]
    assert e_benjamini_hochberg(e_values, 0.15).tolist() == [True, True, False, False]


def test_none_and_all() -> None:
    known, new = torch.arange(20.0), torch.full((4,), 30.0)
    assert conformal_selection(torch.ones(20).bool(), known, torch.full((4,), -5.0), level=0.1).selected.all()
    assert conformal_selection(torch.zeros(20).bool(), known, new, level=0.1).selected.all()  # above everything
    assert not conformal_selection(torch.zeros(20).bool(), known, -new, level=0.1).selected.any()
    # With 20 samples no p-value is below 1/21: one alone of 4 is never found at level 0.1.
    alone = torch.tensor([30.0, -1.0, -1.0, -1.0])
    assert not conformal_selection(torch.zeros(20).bool(), known, alone, level=0.1).selected.any()


def test_predictions_that_say_nothing_select_nothing() -> None:
    """Ties count against a candidate: strict comparisons would select every one of these."""
    wanted = torch.arange(50) % 2 == 0
    found = conformal_selection(wanted, torch.zeros(50), torch.zeros(10), level=0.2)
    assert not found.selected.any()
    assert found.p_values.tolist() == pytest.approx([26 / 51] * 10)


def test_only_the_order_of_the_predictions_matters(generator: torch.Generator) -> None:
    wanted, known, new, _ = _draw(generator)
    first, second = (conformal_selection(wanted, f(known), f(new), level=0.3) for f in (lambda v: v, torch.exp))
    assert torch.equal(first.p_values, second.p_values)


def test_the_share_of_false_discoveries_is_kept(generator: torch.Generator) -> None:
    """In expectation at most 0.2; a mean of 400 is above that by three standard errors with a chance of 1/740."""
    shares, power = [], []
    for _ in range(400):
        wanted, known, new, truth = _draw(generator, n=60, m=40)
        selected = conformal_selection(wanted, known, new, level=0.2).selected
        shares.append((selected & ~truth).sum().item() / max(1, int(selected.sum())))
        power.append((selected & truth).sum().item() / max(1, int(truth.sum())))
    values = torch.tensor(shares)
    assert values.mean() <= 0.2 + 3 * values.std() / 20
    assert sum(power) / len(power) > 0.3


def test_the_record_says_what_was_found() -> None:
    wanted = torch.arange(20) >= 10
    found = conformal_selection(wanted, torch.arange(20.0), torch.tensor([30.0, 25.0, 3.0]), level=0.3)
    assert "2 of 3 candidates selected" in str(found)
    assert "20 labelled samples, 10 of them not wanted" in str(found)
    assert found.to_dict()["selected"] == [True, True, False]
    assert [row["selected"] for row in found.plot().to_dict()["layer"][1]["data"]["values"]] == [True, True, False]
    none = conformal_selection(wanted, torch.arange(20.0), torch.tensor([-1.0]), level=0.1)
    assert "smallest p-value is 0.524" in str(none)
    assert facts_of(conformal_selection).references[0].year == 2023


def test_what_cannot_be_selected_from_is_refused() -> None:
    wanted, known, new = torch.tensor([True, False]), torch.zeros(2), torch.zeros(3)
    with pytest.raises(ValueError, match=r"level must lie strictly between 0 and 1, got 1\.5"):
        conformal_selection(wanted, known, new, level=1.5)
    with pytest.raises(ValueError, match="candidates must not be NaN"):
        conformal_selection(wanted, known, torch.tensor([torch.nan]))
    with pytest.raises(ValueError, match="at least one sample"):
        conformal_selection(wanted, known, torch.zeros(0))
    with pytest.raises(TypeError):
        conformal_selection(wanted.long(), known, new)
    with pytest.raises((ValueError, TypeError)):
        conformal_selection(wanted, torch.zeros(3), new)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        benjamini_hochberg(torch.tensor([1.5]), 0.1)
    with pytest.raises(ValueError, match="at least 0"):
        e_benjamini_hochberg(torch.tensor([-1.0]), 0.1)
