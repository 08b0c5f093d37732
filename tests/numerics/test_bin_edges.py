"""Edges of equal width and of equal mass, and what becomes of ties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import calibration as oracle

from trueline.numerics import BinSums, equal_mass_edges, equal_mass_split, equal_width_edges

TIED = st.lists(st.integers(0, 12).map(lambda k: k / 12), min_size=1, max_size=60)


def test_width_edges_are_rounded_once() -> None:
    assert equal_width_edges(10).tolist() == [m / 10 for m in range(11)]
    assert equal_width_edges(15)[-1] == 1


@pytest.mark.parametrize("bins", [0, -1])
def test_fewer_than_one_bin_is_refused(bins: int) -> None:
    for make in (
        equal_width_edges,
        lambda b: equal_mass_edges(torch.rand(3), b),
        lambda b: equal_mass_split(torch.rand(3), b),
    ):
        with pytest.raises(ValueError, match=f"bins must be at least 1, got {bins}"):
            make(bins)


def test_no_scores_have_no_mass_edges() -> None:
    with pytest.raises(ValueError, match="at least one score"):
        equal_mass_edges(torch.empty(0), 3)


@given(scores=TIED, bins=st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_mass_edges_bin_as_the_slow_twin(scores: list[float], bins: int) -> None:
    values = torch.tensor(scores, dtype=torch.float64)
    edges = equal_mass_edges(values, bins)
    assert edges[0] == 0
    assert edges[-1] == 1
    index = torch.bucketize(values, edges[1:-1]).tolist()
    assert index == oracle.mass_bins(scores, bins)


@given(scores=TIED, bins=st.integers(1, 9))
@settings(deadline=None, max_examples=30)
def test_columns_are_cut_as_if_alone(scores: list[float], bins: int) -> None:
    first = torch.tensor(scores, dtype=torch.float64)
    columns = torch.stack([first, first.square(), torch.ones_like(first)], dim=1)
    edges = equal_mass_edges(columns, bins)
    assert edges.shape == (3, bins + 1)
    together = BinSums(edges, columns=3).add(columns, columns).table()
    for k in range(3):
        alone = BinSums(equal_mass_edges(columns[:, k], bins)).add(columns[:, k], columns[:, k]).table()
        counts = together.count[k]
        assert counts[: len(alone.count)].tolist() == alone.count.tolist()
        assert counts[len(alone.count) :].sum() == 0


@given(scores=TIED, bins=st.integers(1, 9), data=st.data())
@settings(deadline=None, max_examples=100)
def test_weighted_mass_edges_bin_as_the_slow_twin(scores: list[float], bins: int, data: st.DataObject) -> None:
    size = {"min_size": len(scores), "max_size": len(scores)}
    weights = data.draw(st.lists(st.integers(0, 5), **size).filter(any))
    values, weight = torch.tensor(scores, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)
    edges = equal_mass_edges(values, bins, weight=weight)
    assert edges[0] == 0
    assert edges[-1] == 1
    kept = weight > 0
    expected = torch.tensor(oracle.weighted_mass_bins(scores, bins, weights))
    assert torch.equal(torch.bucketize(values, edges[1:-1])[kept], expected[kept])


@given(scores=TIED, bins=st.integers(1, 9), scale=st.sampled_from([0.1, 0.3, 1 / 3, 1.0, 7.7, 1e-12, 1e12]))
@settings(deadline=None, max_examples=60)
def test_a_constant_weight_gives_exactly_the_unweighted_edges(scores: list[float], bins: int, scale: float) -> None:
    values = torch.tensor(scores, dtype=torch.float64)
    columns = torch.stack([values, values.square()], dim=1)
    weight = torch.full_like(values, scale)
    assert torch.equal(equal_mass_edges(values, bins, weight=weight), equal_mass_edges(values, bins))
    assert torch.equal(equal_mass_edges(columns, bins, weight=weight.float()), equal_mass_edges(columns, bins))


def test_many_constant_weights_still_cut_where_none_do(generator: torch.Generator) -> None:
    scores = torch.rand(300_007, generator=generator)
    for bins in (15, 997):
        weighted = equal_mass_edges(scores, bins, weight=torch.full((300_007,), 0.1))
        assert torch.equal(weighted, equal_mass_edges(scores, bins))


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_a_weight_of_zero_is_absence_and_scale_and_order_do_not_matter(generator: torch.Generator, bins: int) -> None:
    scores = (20 * torch.rand(200, 3, generator=generator)).round() / 20
    weight = torch.rand(200, generator=generator, dtype=torch.float64) + 0.1
    kept = torch.rand(200, generator=generator) < 0.7
    reference = equal_mass_edges(scores[kept], bins, weight=weight[kept])
    assert torch.equal(equal_mass_edges(scores, bins, weight=weight * kept), reference)
    assert torch.equal(equal_mass_edges(scores, bins, weight=1e-3 * weight * kept), reference)
    order = torch.randperm(200, generator=generator)
    assert torch.equal(equal_mass_edges(scores[order], bins, weight=(weight * kept)[order]), reference)


def test_a_cut_inside_a_heavy_sample_moves_below_it() -> None:
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4])
    edges = equal_mass_edges(scores, 2, weight=torch.tensor([1.0, 1.0, 1.0, 9.0]))
    assert BinSums(edges).add(scores, scores).count.tolist() == [3, 1]
    edges = equal_mass_edges(scores, 2, weight=torch.tensor([9.0, 1.0, 1.0, 1.0]))
    assert BinSums(edges).add(scores, scores).count.tolist() == [1, 3]


def test_weighted_bins_hold_nearly_equal_weight(generator: torch.Generator) -> None:
    scores = torch.rand(5000, generator=generator, dtype=torch.float64)
    weight = 3 * torch.rand(5000, generator=generator, dtype=torch.float64)
    held = BinSums(equal_mass_edges(scores, 10, weight=weight)).add(scores, scores, weight=weight).table().weight
    assert held.max() - held.min() <= weight.max() + weight.mean()


def test_weights_that_are_all_zero_leave_nothing_to_cut() -> None:
    with pytest.raises(ValueError, match="at least one score of positive weight"):
        equal_mass_edges(torch.rand(3), 3, weight=torch.zeros(3))


def test_edges_lie_midway_between_distinct_neighbours() -> None:
    assert equal_mass_edges(torch.tensor([0.75, 0.25, 0.5, 1.0]), 2).tolist() == [0, 0.625, 1]


def test_neighbours_in_floating_point_are_still_separated() -> None:
    low = torch.tensor([0.5])
    both = torch.cat([low, torch.nextafter(low, torch.ones(1))])
    assert BinSums(equal_mass_edges(both, 2)).add(both, both).count.tolist() == [1, 1]


def test_a_cut_inside_the_lowest_tie_moves_above_it() -> None:
    scores = torch.tensor([0.0] * 6 + [1.0] * 4)
    assert BinSums(equal_mass_edges(scores, 2)).add(scores, scores).count.tolist() == [6, 4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_mass_bins_hold_equal_counts_in_every_dtype(dtype: torch.dtype) -> None:
    scores = (torch.arange(1, 13) / 16).to(dtype)
    assert BinSums(equal_mass_edges(scores, 4)).add(scores, scores.double()).count.tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize(("samples", "bins"), [(10, 3), (3, 5), (7, 7), (1, 4)])
def test_split_sizes_differ_by_at_most_one_despite_ties(samples: int, bins: int) -> None:
    index = equal_mass_split(torch.ones(samples), bins)
    sizes = torch.bincount(index, minlength=bins)
    assert sizes.sum() == samples
    assert sizes.max() - sizes.min() <= 1
    assert index.tolist() == sorted(index.tolist())  # the sort is stable


def test_split_and_edges_agree_without_ties(generator: torch.Generator) -> None:
    scores = torch.rand(101, 3, generator=generator, dtype=torch.float64)
    index = equal_mass_split(scores, 7)
    for k in range(3):
        edges = equal_mass_edges(scores[:, k], 7)
        assert torch.equal(torch.bucketize(scores[:, k].contiguous(), edges[1:-1]), index[:, k])


def test_saturated_predictions_keep_thirteen_of_fifteen_bins(wrn_confidence: torch.Tensor) -> None:
    assert (wrn_confidence == 1).sum() == 2469
    assert len(equal_mass_edges(wrn_confidence, 15)) - 1 == 13


@pytest.fixture
def wrn_confidence(shared_data) -> torch.Tensor:
    numpy = pytest.importorskip("numpy")
    with numpy.load(shared_data / "predictions" / "cifar10-wrn16x4-probs.npz") as file:
        return torch.tensor(file["probs"]).amax(dim=1)
