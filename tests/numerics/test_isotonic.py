"""The isotonic fit: what makes it optimal, invariances, the max-min formula and an independent package."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import isotonic as oracle

from trueline.numerics import isotonic_blocks, isotonic_fit


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[float], list[float], list[float]]:
    """Scores with many ties, outcomes and weights, some of them zero."""
    n = draw(st.integers(1, 14))

    def column(*values: float) -> list[float]:
        return draw(st.lists(st.sampled_from(values), min_size=n, max_size=n))

    weights = column(0.0, 0.5, 1.0, 3.0)
    weights[draw(st.integers(0, n - 1))] = 1.0
    return column(0.0, 0.1, 0.2, 0.3, 0.7, 1.0), column(0.0, 1.0, 0.25), weights


def _tensors(*columns: list[float]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(column, dtype=torch.float64) for column in columns)


def test_cases_worked_by_hand() -> None:
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4])
    for outcomes, expected in (
        ([0, 0, 1, 1], [0, 0, 1, 1]),
        ([1, 1, 0, 0], [0.5, 0.5, 0.5, 0.5]),
        ([0, 1, 0, 1], [0, 0.5, 0.5, 1]),
        ([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5]),
        ([3, 1, 2, 9], [2, 2, 2, 9]),
    ):
        assert isotonic_fit(scores, torch.tensor(outcomes)).tolist() == expected
    tied = isotonic_fit(torch.tensor([0.5, 0.5, 0.7]), torch.tensor([False, True, True]))
    assert tied.tolist() == [0.5, 0.5, 1]
    assert isotonic_fit(torch.tensor([0.3]), torch.tensor([7.5])).tolist() == [7.5]


@given(problem=problems())
@settings(deadline=None, max_examples=80)
def test_the_fit_equals_the_max_min_formula(problem) -> None:
    scores, outcomes, weights = _tensors(*problem)
    fitted = isotonic_fit(scores, outcomes, weight=weights)
    assert fitted.tolist() == pytest.approx(oracle.isotonic_fit(*problem), abs=1e-12)
    plain = isotonic_fit(scores, outcomes)
    assert plain.tolist() == pytest.approx(oracle.isotonic_fit(*problem[:2]), abs=1e-12)


@given(problem=problems())
@settings(deadline=None, max_examples=60)
def test_no_other_increasing_function_is_closer(problem) -> None:
    """The fit is the projection on a convex cone: (y - g)·g = 0, and (y - g)·h <= 0 for every increasing h."""
    scores, outcomes, weights = _tensors(*problem)
    fitted = isotonic_fit(scores, outcomes, weight=weights)
    residual = weights * (outcomes - fitted)
    assert (residual @ fitted).item() == pytest.approx(0, abs=1e-12)
    assert residual.sum().item() == pytest.approx(0, abs=1e-12)
    for step in scores.unique():  # the steps up generate the cone
        assert residual @ (scores >= step).double() <= 1e-12
    order = scores.argsort()
    assert (fitted[order].diff() >= 0).all()
    assert all(len(fitted[scores == score].unique()) == 1 for score in scores.unique())


@given(problem=problems())
@settings(deadline=None, max_examples=40)
def test_weights_are_repetitions_and_zero_is_absence(problem) -> None:
    scores, outcomes, weights = _tensors(*problem)
    weights = 2 * weights  # whole numbers
    fitted = isotonic_fit(scores, outcomes, weight=weights)
    times = weights.long()
    repeated = isotonic_fit(scores.repeat_interleave(times), outcomes.repeat_interleave(times))
    assert torch.allclose(fitted.repeat_interleave(times), repeated, atol=1e-12)
    present = weights > 0
    without = isotonic_fit(scores[present], outcomes[present], weight=weights[present])
    assert torch.allclose(fitted[present], without, atol=1e-12)
    assert torch.allclose(fitted, isotonic_fit(scores, outcomes, weight=0.3 * weights), atol=1e-12)
    assert torch.equal(isotonic_fit(scores, outcomes), isotonic_fit(scores, outcomes, weight=torch.ones_like(scores)))


def test_a_score_without_weight_gets_the_value_below_it_or_else_the_lowest() -> None:
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    weight = torch.tensor([0.0, 1.0, 0.0, 0.0, 2.0])
    outcomes = torch.tensor([9.0, 0.25, -9.0, 9.0, 0.75])
    assert isotonic_fit(scores, outcomes, weight=weight).tolist() == [0.25, 0.25, 0.25, 0.25, 0.75]
    # The neighbours of a column's first score are in that column, not at the end of the one before.
    columns = isotonic_fit(
        torch.stack([scores, scores], dim=1), torch.stack([outcomes, 1 + outcomes], 1), weight=weight
    )
    assert columns[:, 1].tolist() == [1.25, 1.25, 1.25, 1.25, 1.75]


@given(problem=problems())
@settings(deadline=None, max_examples=40)
def test_blocks_are_where_the_fit_is_constant(problem) -> None:
    scores, outcomes, weights = _tensors(*problem)
    columns = torch.stack([scores, -scores], dim=1), torch.stack([outcomes, outcomes], dim=1)
    fitted = isotonic_fit(*columns, weight=weights)
    for k, (low, high, level) in enumerate(isotonic_blocks(*columns, weight=weights)):
        assert (level.diff() > 0).all()
        assert (low <= high).all()
        assert (high[:-1] < low[1:]).all()
        own = (columns[0][:, k, None] >= low) & (columns[0][:, k, None] <= high)
        assert (own.sum(dim=1) == 1).all()
        assert torch.equal(fitted[:, k], level[own.long().argmax(dim=1)])
        assert all(torch.isin(ends, scores if k == 0 else -scores).all() for ends in (low, high))


def test_columns_are_fitted_one_by_one_and_order_does_not_matter(generator: torch.Generator) -> None:
    scores = torch.rand(200, 7, generator=generator, dtype=torch.float64).mul(50).round()
    outcomes = torch.rand(200, 7, generator=generator, dtype=torch.float64) < scores / 50
    weight = torch.rand(200, generator=generator)
    together = isotonic_fit(scores, outcomes, weight=weight)
    assert together.shape == (200, 7)
    for k in range(7):
        alone = isotonic_fit(scores[:, k], outcomes[:, k], weight=weight)
        assert torch.allclose(together[:, k], alone, atol=1e-14)
    rows = torch.randperm(200, generator=generator)
    shuffled = isotonic_fit(scores[rows], outcomes[rows], weight=weight[rows])
    assert torch.allclose(shuffled, together[rows], atol=1e-12)
    assert torch.allclose(isotonic_fit(scores, together, weight=weight), together, atol=1e-12)  # idempotent
    assert torch.allclose(isotonic_fit(scores.exp(), outcomes, weight=weight), together, atol=1e-14)  # only order


@pytest.mark.parametrize("weighted", [False, True])
def test_it_agrees_with_scikit_learn(generator: torch.Generator, weighted: bool) -> None:
    isotonic = pytest.importorskip("sklearn.isotonic")
    scores = torch.rand(3000, generator=generator, dtype=torch.float64)
    scores[:1500] = scores[:1500].mul(100).round() / 100
    outcomes = (torch.rand(3000, generator=generator, dtype=torch.float64) < scores**2).double()
    weight = torch.rand(3000, generator=generator, dtype=torch.float64) + 0.1 if weighted else None
    fitted = isotonic_fit(scores, outcomes, weight=weight)
    peer = isotonic.IsotonicRegression().fit_transform(
        scores.numpy(), outcomes.numpy(), sample_weight=None if weight is None else weight.numpy()
    )
    np.testing.assert_allclose(fitted.numpy(), peer, atol=1e-12)
    order = scores.unique(return_inverse=True)[1]  # distinct scores only: no ties to pool
    first = torch.stack([(order == g).nonzero()[0, 0] for g in range(0, int(order.max()) + 1, 7)])
    peer = isotonic.isotonic_regression(outcomes[first].numpy())
    np.testing.assert_allclose(isotonic_fit(scores[first], outcomes[first]).numpy(), peer, atol=1e-12)


def test_a_cascade_of_single_merges_is_still_exact() -> None:
    """Each pass over such data pools one pair only, so the rest is pooled block by block."""
    n = 300
    scores = torch.arange(n, dtype=torch.float64)
    outcomes = scores.clone()
    outcomes[-1] = -1e6
    fitted = isotonic_fit(scores[:, None].expand(n, 2), torch.stack([scores, outcomes], dim=1))
    assert torch.equal(fitted[:, 0], scores)
    assert torch.allclose(fitted[:, 1], outcomes.mean().expand(n))


def test_a_hundred_columns_of_ten_thousand_take_about_a_second(generator: torch.Generator) -> None:
    scores = torch.rand(10_000, 100, generator=generator)
    outcomes = torch.rand(10_000, 100, generator=generator) < scores
    start = time.process_time()
    fitted = isotonic_fit(scores, outcomes)
    assert time.process_time() - start < 3  # 0.3 seconds on one core of the machine it was written on
    assert ((fitted >= 0) & (fitted <= 1)).all()


def test_bad_input_is_refused() -> None:
    scores, outcomes = torch.tensor([0.1, 0.2]), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="must be finite"):
        isotonic_fit(torch.tensor([0.1, torch.nan]), outcomes)
    with pytest.raises(ValueError, match="must be finite"):
        isotonic_fit(scores, torch.tensor([0.0, torch.inf]))
    with pytest.raises(ValueError, match="N >= 1"):
        isotonic_fit(scores[:0], outcomes[:0])
    for weight in ([0.0, 0.0], [1.0, -1.0], [1.0, torch.nan]):
        with pytest.raises(ValueError, match="positive somewhere"):
            isotonic_fit(scores, outcomes, weight=torch.tensor(weight))
    with pytest.raises((TypeError, ValueError)):
        isotonic_fit(scores, outcomes[:1])
    with pytest.raises((TypeError, ValueError)):
        isotonic_fit(scores, outcomes, weight=torch.ones(3))
    with pytest.raises(TypeError):
        isotonic_fit(torch.tensor([1, 2]), outcomes)
