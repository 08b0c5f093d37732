"""Detection scores: counts of pairs, closed forms, ties, an independent package and the coverage of the interval."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline.contracts import facts_of
from trueline.measure import auroc, fpr_at_recall
from trueline.numerics import Interval, wilson_interval

scores = st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]), min_size=1, max_size=15)


def _t(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(inside=scores, outside=scores)
@settings(deadline=None, max_examples=60)
def test_the_area_counts_pairs_and_ties_half(inside: list[float], outside: list[float]) -> None:
    wins = sum((a > b) + 0.5 * (a == b) for a in inside for b in outside)
    found = auroc(_t(inside), _t(outside))
    assert found.value == pytest.approx(wins / (len(inside) * len(outside)), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1
    swapped = auroc(_t(outside), _t(inside))
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((1 - found.value, 1 - found.high, 1 - found.low))
    stretched = auroc(_t(inside).exp(), _t(outside).exp())  # only the order counts
    assert stretched == found


def test_the_interval_has_delongs_variance() -> None:
    """Three against two, one tie: placements 1, 1, 3/4 and 5/6, 1."""
    found = auroc(_t([0.9, 0.8, 0.7]), _t([0.7, 0.1]))
    assert found.value == pytest.approx(11 / 12)
    variance = np.var([1, 1, 3 / 4], ddof=1) / 3 + np.var([5 / 6, 1], ddof=1) / 2
    low, high = wilson_interval(_t([11 / 12]), _t([11 / 12 / 12 / variance]))
    assert (found.low, found.high) == pytest.approx((low.item(), high.item()))


def test_large_samples_have_delongs_interval(generator: torch.Generator) -> None:
    inside = torch.randn(4000, generator=generator) + 1
    outside = torch.randn(3000, generator=generator)
    found = auroc(inside, outside)
    wins = (inside[:, None] > outside[None]).double()
    half = 1.96 * math.sqrt(wins.mean(dim=1).var() / 4000 + wins.mean(dim=0).var() / 3000)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=3e-4)


def test_sets_that_do_not_overlap_and_scores_that_say_nothing() -> None:
    apart = auroc(_t([1.0] * 50), _t([0.0] * 200))
    assert (apart.value, apart.high) == (1, 1)
    assert apart.low == pytest.approx(50 / (50 + 1.959964**2), abs=1e-6)  # Wilson's for 50 of 50
    same = auroc(_t([0.5] * 50), _t([0.5] * 200))
    assert same.value == 0.5
    assert same.low == pytest.approx(1 - same.high)
    assert 0.3 < same.low < 0.4
    assert auroc(_t([0.7]), _t([0.1, 0.2])) == Interval(1.0, 0.0, 1.0)
    assert auroc(_t([math.inf, 0.5]), _t([-math.inf, -math.inf])).value == 1


@pytest.mark.parametrize(("shift", "size"), [(0.5, 50), (2.0, 50), (3.0, 50)])
def test_the_interval_covers_the_true_area(generator: torch.Generator, shift: float, size: int) -> None:
    true = 0.5 * (1 + math.erf(shift / 2))
    covered = 0
    for _ in range(400):
        found = auroc(torch.randn(size, generator=generator) + shift, torch.randn(size, generator=generator))
        covered += found.low <= true <= found.high
    # About 95 % in the middle and 92 % near one, where A ± 1.96·s covers 84 %.
    assert covered / 400 > 0.89


def test_it_agrees_with_scikit_learn(generator: torch.Generator) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    inside = (torch.randn(700, generator=generator) + 1).mul(5).round() / 5
    outside = torch.randn(500, generator=generator).mul(5).round() / 5
    truth, values = np.r_[np.ones(700), np.zeros(500)], torch.cat([inside, outside]).numpy()
    assert auroc(inside, outside).value == pytest.approx(metrics.roc_auc_score(truth, values), abs=1e-12)
    false, true, _ = metrics.roc_curve(truth, values, drop_intermediate=False)
    for recall in (0.05, 0.5, 0.8, 0.95, 0.99, 1.0):
        expected = false[np.argmax(true >= recall)]
        assert fpr_at_recall(inside, outside, recall=recall).value == pytest.approx(expected, abs=1e-12)


@given(inside=scores, outside=scores, recall=st.floats(0.01, 1.0))
@settings(deadline=None, max_examples=60)
def test_the_threshold_is_the_largest_that_enough_pass(
    inside: list[float], outside: list[float], recall: float
) -> None:
    passed = [t for t in inside if sum(s >= t for s in inside) / len(inside) >= recall]
    share = sum(s >= max(passed) for s in outside) / len(outside)
    found = fpr_at_recall(_t(inside), _t(outside), recall=recall)
    assert found.value == pytest.approx(share, abs=1e-12)
    low, high = wilson_interval(_t([share]), _t([float(len(outside))]))
    assert (found.low, found.high) == pytest.approx((low.item(), high.item()))


def test_a_recall_that_is_a_whole_number_of_samples_asks_for_no_more() -> None:
    """0.07 · 100 and 0.28 · 25 are above 7 in floating point."""
    for recall, size in ((0.07, 100), (0.28, 25)):
        inside = torch.arange(size, 0, -1).double()
        threshold = inside[6].item()  # the seventh
        found = fpr_at_recall(inside, _t([threshold, threshold - 0.5]), recall=recall)
        assert found.value == 0.5


def test_bad_input_is_refused() -> None:
    good = torch.tensor([0.1, 0.2])
    for measure in (auroc, fpr_at_recall):
        with pytest.raises(ValueError, match="inside must have shape"):
            measure(good[:0], good)
        with pytest.raises(ValueError, match="outside holds 1 NaN"):
            measure(good, torch.tensor([0.1, math.nan]))
        with pytest.raises(TypeError):
            measure(good, torch.tensor([1, 2]))
        with pytest.raises((TypeError, ValueError)):
            measure(good[None], good)
    for recall in (0.0, -0.5, 1.01, 95.0, math.nan):
        with pytest.raises(ValueError, match=r"recall must lie in \(0, 1\]"):
            fpr_at_recall(good, good, recall=recall)


def test_they_carry_their_references() -> None:
    assert facts_of(auroc).references[0].year == 1988
    assert facts_of(fpr_at_recall).references[0].arxiv == "1706.02690"
