"""Sums per bin: boundary values, weights, columns, batches and merging."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from oracles import calibration as oracle

from trueline.numerics import BinSums, equal_mass_edges, equal_width_edges

SCORES = st.lists(st.one_of(st.floats(0, 1), st.integers(0, 10).map(lambda k: k / 10)), min_size=1, max_size=40)


def _close(first: torch.Tensor, second: torch.Tensor) -> bool:
    return torch.allclose(first, second, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_right_closed_bins_count_one_in_the_last_bin() -> None:
    scores = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    assert BinSums(equal_width_edges(4)).add(scores, scores).count.tolist() == [2, 1, 1, 1]


def test_scores_that_round_past_the_ends_stay_inside() -> None:
    scores = torch.tensor([-1e-9, 1 + 1e-9], dtype=torch.float64)
    assert BinSums(equal_width_edges(3)).add(scores, scores).count.tolist() == [1, 0, 1]


def test_scores_that_round_past_one_fill_no_absent_bin() -> None:
    scores = torch.tensor([[0.25], [1.0], [1.0], [1 + 1e-6]])
    edges = torch.tensor([[0.0, 0.5, 1.0, 1.0]])
    assert BinSums(edges, columns=1).add(scores, scores).count.tolist() == [[1, 3, 0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bins", [10, 15])
def test_an_edge_in_any_dtype_belongs_to_the_bin_below(dtype: torch.dtype, bins: int) -> None:
    scores = equal_width_edges(bins)[1:].to(dtype)
    assert BinSums(equal_width_edges(bins)).add(scores, scores.double()).count.tolist() == [1] * bins


@given(scores=SCORES, bins=st.integers(1, 16), data=st.data())
@settings(deadline=None, max_examples=60)
def test_sums_equal_the_slow_twin(scores: list[float], bins: int, data: st.DataObject) -> None:
    size = {"min_size": len(scores), "max_size": len(scores)}
    hits = data.draw(st.lists(st.booleans(), **size))
    weights = data.draw(st.lists(st.floats(0.1, 3), **size))
    table = (
        BinSums(equal_width_edges(bins))
        .add(
            torch.tensor(scores, dtype=torch.float64),
            torch.tensor(hits),
            weight=torch.tensor(weights, dtype=torch.float64),
        )
        .table()
    )
    expected = oracle.table(scores, hits, oracle.width_bins(scores, bins), weights)
    for b in range(bins):
        if b not in expected:
            assert table.count[b] == table.weight[b] == table.effective[b] == table.gap[b] == 0
            assert table.confidence[b].isnan()
            assert table.outcome[b].isnan()
            continue
        weight, confidence, outcome, squared = expected[b]
        assert table.weight[b].item() == pytest.approx(weight, rel=1e-12)
        assert table.confidence[b].item() == pytest.approx(confidence, rel=1e-9, abs=1e-12)
        assert table.outcome[b].item() == pytest.approx(outcome, rel=1e-12)
        assert table.gap[b].item() == pytest.approx(confidence - outcome, abs=1e-12)
        assert table.effective[b].item() == pytest.approx(weight**2 / squared, rel=1e-12)


def test_integer_weights_equal_repeated_samples(generator: torch.Generator) -> None:
    scores = torch.rand(50, generator=generator)
    hits = torch.rand(50, generator=generator) < scores
    times = torch.arange(50) % 4
    weighted = BinSums(equal_width_edges(5)).add(scores, hits, weight=times.float()).table()
    repeated = BinSums(equal_width_edges(5)).add(scores.repeat_interleave(times), hits.repeat_interleave(times)).table()
    assert _close(weighted.weight, repeated.weight)
    assert _close(weighted.gap, repeated.gap)


@pytest.mark.parametrize("mass", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_classes_equal_one_column_at_a_time(generator: torch.Generator, mass: bool, weighted: bool) -> None:
    probs = torch.randn(200, 7, generator=generator).softmax(dim=1)
    labels = torch.randint(7, (200,), generator=generator)
    weight = torch.rand(200, generator=generator) if weighted else None
    edges = equal_mass_edges(probs, 6) if mass else equal_width_edges(6)
    by_label = BinSums(edges, columns=7).add_classes(probs, labels, weight=weight).table()
    one_hot = torch.nn.functional.one_hot(labels, 7)
    by_outcome = BinSums(edges, columns=7).add(probs, one_hot, weight=weight).table()
    for k in range(7):
        alone = BinSums(edges[k] if mass else edges).add(probs[:, k], labels == k, weight=weight).table()
        for name in ("count", "weight", "effective", "confidence", "outcome", "gap"):
            assert _close(getattr(by_label, name)[k], getattr(alone, name)), name
            assert _close(getattr(by_outcome, name)[k], getattr(alone, name)), name


def test_blocks_and_batches_do_not_change_the_sums(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.rand(1000, generator=generator)
    hits = torch.rand(1000, generator=generator) < scores
    whole = BinSums(equal_width_edges(15)).add(scores, hits).table()
    batches = BinSums(equal_width_edges(15))
    for part in range(0, 1000, 130):
        batches.add(scores[part : part + 130], hits[part : part + 130])
    monkeypatch.setattr("trueline.numerics._binning._BLOCK", 64)
    blocks = BinSums(equal_width_edges(15)).add(scores, hits).table()
    for name in ("count", "weight", "confidence", "outcome"):
        assert _close(getattr(whole, name), getattr(batches.table(), name))
        assert _close(getattr(whole, name), getattr(blocks, name))


def test_merging_is_associative_and_equals_adding(generator: torch.Generator) -> None:
    scores = torch.randint(0, 65, (90,), generator=generator) / 64  # sums of these are exact
    hits = torch.rand(90, generator=generator) < 0.5
    parts = [BinSums(equal_width_edges(8)).add(scores[i::3], hits[i::3]) for i in range(3)]
    left = parts[0].merge(parts[1]).merge(parts[2])
    right = parts[0].merge(parts[1].merge(parts[2]))
    whole = BinSums(equal_width_edges(8)).add(scores, hits)
    for name in ("count", "weight", "squared_weight", "score", "outcome"):
        assert torch.equal(getattr(left, name), getattr(right, name))
        assert torch.equal(getattr(left, name), getattr(whole, name))
    assert parts[0].count.sum() == 30  # the operands are left alone


def test_sums_over_different_edges_do_not_merge() -> None:
    with pytest.raises(ValueError, match="same edges"):
        BinSums(equal_width_edges(8)).merge(BinSums(equal_width_edges(9)))


def test_scores_that_are_not_finite_are_refused_and_add_nothing() -> None:
    sums = BinSums(equal_width_edges(3))
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="scores must be finite"):
            sums.add(torch.tensor([0.5, bad]), torch.tensor([1.0, 1.0]))
    assert sums.count.sum() == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_weights_that_cannot_be_weights_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="weight must be finite and at least zero"):
        BinSums(equal_width_edges(3)).add(torch.rand(2), torch.ones(2), weight=torch.tensor([1.0, bad]))


def test_a_table_stays_as_it_was_when_samples_are_added() -> None:
    sums = BinSums(equal_width_edges(3)).add(torch.tensor([0.1]), torch.tensor([1.0]))
    table = sums.table()
    sums.add(torch.tensor([0.1]), torch.tensor([1.0]))
    assert table.count.tolist() == table.weight.tolist() == [1, 0, 0]


def test_misfitting_columns_and_edges_are_refused() -> None:
    with pytest.raises(ValueError, match="columns=None, got scores of shape"):
        BinSums(equal_width_edges(3)).add_classes(torch.ones(2, 2) / 2, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="need columns=4"):
        BinSums(equal_width_edges(3).expand(4, -1), columns=5)
    with pytest.raises(ValueError, match="non-decreasing"):
        BinSums(torch.tensor([0.0, 0.7, 0.5, 1.0]))
    with pytest.raises(ValueError, match="two or more"):
        BinSums(torch.tensor([0.0]))
    with pytest.raises(TypeCheckError):
        BinSums(equal_width_edges(3)).add(torch.rand(4), torch.rand(5))


def test_no_samples_leave_empty_bins() -> None:
    table = BinSums(equal_width_edges(3)).add(torch.empty(0), torch.empty(0)).table()
    assert table.count.tolist() == [0, 0, 0]
    assert table.gap.tolist() == [0, 0, 0]
