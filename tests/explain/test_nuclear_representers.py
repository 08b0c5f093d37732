"""Sums over the ratings of a low-rank model: closed forms, both identities, factors, the slow twin, and refusals."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from oracles import representers as oracle

from trueline.explain._nuclear_representers import nuclear_representers
from trueline.explain._representers import Representers

STRENGTH = 0.01


class Ratings(NamedTuple):
    rows: torch.Tensor
    columns: torch.Tensor
    values: torch.Tensor
    theta: torch.Tensor


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    """Half of a noisy 30 by 20 matrix of rank 3, and its completion."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (30, 20))
    rows, columns = (torch.rand(30, 20, generator=generator) < 0.5).nonzero().T
    noise = 0.1 * torch.randn(len(rows), generator=generator, dtype=torch.float64)
    values = (left @ right.T)[rows, columns] + noise
    return Ratings(rows, columns, values, oracle.complete(rows, columns, values, (30, 20), STRENGTH))


EVERYWHERE = torch.arange(600) // 20, torch.arange(600) % 20


def explained(ratings: Ratings, **options: Any) -> Representers:
    given = {"theta": ratings.theta, "strength": STRENGTH, "keep_all": True}
    return nuclear_representers(ratings.rows, ratings.columns, ratings.values, *EVERYWHERE, **{**given, **options})


def balanced(theta: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    left, values, right = torch.linalg.svd(theta, full_matrices=False)
    root = values[:rank].sqrt()
    return left[:, :rank] * root, right[:rank].T * root


# Closed forms and the identities


def test_a_diagonal_of_ratings_is_shrunk_and_each_entry_owes_itself_to_its_own_rating() -> None:
    ratings = torch.tensor([3.0, 2.0, 0.5], dtype=torch.float64)
    rows, columns = torch.arange(9) // 3, torch.arange(9) % 3
    values = torch.diag(ratings).flatten()
    theta = torch.diag((ratings - 9 * 0.1).clamp_min(0))
    at = torch.arange(3)
    found = nuclear_representers(rows, columns, values, at, at, theta=theta, strength=0.1, keep_all=True)
    expected = torch.zeros(3, 9, dtype=torch.float64)
    expected[at, 4 * at] = theta.diagonal()
    torch.testing.assert_close(found.contributions, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("view", ["rows", "columns", "both"])
def test_contributions_add_up_to_every_entry(ratings: Ratings, view: str) -> None:
    found = explained(ratings, view=view)
    torch.testing.assert_close(found.prediction, ratings.theta.flatten(), rtol=0, atol=1e-12)
    assert found.reconstruction_error.max() <= 1e-10
    assert found.residual <= 1e-10
    same_column = ratings.columns == EVERYWHERE[1][:, None]
    same_row = ratings.rows == EVERYWHERE[0][:, None]
    allowed = {"rows": same_column, "columns": same_row, "both": same_row | same_column}[view]
    assert (found.contributions[~allowed] == 0).all()
    for part in found.proponents_of(7):
        assert allowed[7, part.sample]
        assert part.contribution == pytest.approx(part.coefficient * part.similarity)


def test_both_is_half_of_each(ratings: Ratings) -> None:
    rows, columns, both = (explained(ratings, view=view).contributions for view in ("rows", "columns", "both"))
    torch.testing.assert_close(both, (rows + columns) / 2, rtol=0, atol=1e-12)


def test_the_transpose_swaps_the_views(ratings: Ratings) -> None:
    turned = nuclear_representers(
        ratings.columns,
        ratings.rows,
        ratings.values,
        *reversed(EVERYWHERE),
        theta=ratings.theta.T.contiguous(),
        strength=STRENGTH,
        view="columns",
        keep_all=True,
    )
    torch.testing.assert_close(turned.contributions, explained(ratings, view="rows").contributions, rtol=0, atol=1e-10)


def test_balanced_factors_have_the_sums_of_their_product(ratings: Ratings) -> None:
    rank = int((torch.linalg.svdvals(ratings.theta) > 1e-9).sum())
    assert 1 < rank < 20
    found = explained(ratings, theta=None, factors=balanced(ratings.theta, rank))
    torch.testing.assert_close(found.contributions, explained(ratings).contributions, rtol=0, atol=1e-10)


def test_factors_of_too_low_a_rank_have_exact_sums_where_they_are_stationary(ratings: Ratings) -> None:
    generator = torch.Generator().manual_seed(3)
    given = ratings.rows, ratings.columns, ratings.values, (30, 20)
    factors = oracle.factorise(*given, 1, STRENGTH, generator, sweeps=400)
    found = explained(ratings, theta=None, factors=factors)
    assert found.reconstruction_error.max() <= 1e-10
    with pytest.raises(ValueError, match="no minimum"):  # of all matrices it is not the best
        explained(ratings, theta=factors[0] @ factors[1].T)


def test_the_logistic_loss_is_taken_apart_too(ratings: Ratings) -> None:
    liked = (ratings.values > 0).double()
    theta = oracle.complete(ratings.rows, ratings.columns, liked, (30, 20), 0.008, logistic=True, steps=3000)
    assert theta.abs().max() > 0.1
    found = explained(ratings._replace(values=liked, theta=theta), loss="logistic", strength=0.008)
    assert found.reconstruction_error.max() <= 1e-10
    with pytest.raises(ValueError, match=r"ratings of the logistic loss must lie in \[0, 1\]"):
        explained(ratings, loss="logistic")


@pytest.mark.parametrize("view", ["rows", "columns"])
def test_every_contribution_equals_the_slow_twin(ratings: Ratings, view: str) -> None:
    found = explained(ratings, view=view)
    points = list(zip(*(part[::37].tolist() for part in EVERYWHERE), strict=True))
    entries = list(zip(ratings.rows.tolist(), ratings.columns.tolist(), strict=True))
    expected = oracle.nuclear(entries, ratings.values.tolist(), points, ratings.theta, STRENGTH, view)
    np.testing.assert_allclose(found.contributions[::37].numpy(), expected, atol=1e-10)


def test_the_size_of_a_chunk_never_changes_the_answer(ratings: Ratings) -> None:
    whole = explained(ratings)
    for chunk_size in (1, 77, 1000):
        cut = explained(ratings, chunk_size=chunk_size)
        torch.testing.assert_close(cut.contributions, whole.contributions, rtol=0, atol=1e-13)
        torch.testing.assert_close(cut.proponent_values, whole.proponent_values, rtol=0, atol=1e-13)


def test_a_rating_given_twice_counts_twice() -> None:
    here = torch.zeros(2, dtype=torch.int64)
    found = nuclear_representers(
        here, here, torch.tensor([3.0, 5.0]), here[:1], here[:1], theta=torch.tensor([[3.0]]), strength=1.0,
        keep_all=True,
    )  # fmt: skip
    assert found.contributions[0].tolist() == pytest.approx([0, 3], abs=1e-12)  # the mean rating 4 is shrunk by 1


def test_a_matrix_of_zeros_is_the_minimum_of_a_strong_penalty(ratings: Ratings) -> None:
    found = explained(ratings, theta=torch.zeros(30, 20), strength=10.0)
    assert found.total.tolist() == [0.0] * 600
    with pytest.raises(ValueError, match="no minimum"):
        explained(ratings, theta=torch.zeros(30, 20))


# Refusals


def test_a_matrix_that_has_not_converged_is_refused(ratings: Ratings) -> None:
    early = oracle.complete(ratings.rows, ratings.columns, ratings.values, (30, 20), STRENGTH, steps=10)
    for change in ({"theta": early}, {"strength": 1.01 * STRENGTH}, {"theta": 1.001 * ratings.theta}):
        with pytest.raises(ValueError, match=r"residual is .*strength is λ of the mean over ratings"):
            explained(ratings, **change)
    first, second = balanced(ratings.theta, 20)
    with pytest.raises(ValueError, match="no minimum"):
        explained(ratings, theta=None, factors=(first, 1.01 * second))
    near = explained(ratings, theta=1.001 * ratings.theta, tolerance=0.5)
    assert (near.reconstruction_error <= near.residual * 1.001 * torch.linalg.matrix_norm(ratings.theta)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"theta": None}, "expected exactly one of theta= and factors=, got neither"),
        ({"factors": (torch.zeros(30, 2), torch.zeros(20, 2))}, "got both"),
        ({"theta": torch.zeros(30, 10)}, r"columns must lie in \[0, 9\]"),
        ({"theta": torch.full((30, 20), math.nan)}, "theta must be finite"),
        ({"strength": -1.0}, "strength must be above 0"),
        ({"top": 0}, "top must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(ratings: Ratings, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        explained(ratings, **change)


def test_places_outside_the_matrix_and_unknown_views_are_refused(ratings: Ratings) -> None:
    zero, none = torch.zeros(1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    given = ratings.rows, ratings.columns, ratings.values
    options = {"theta": ratings.theta, "strength": STRENGTH}
    with pytest.raises(ValueError, match=r"test_rows must lie in \[0, 29\], got values from 30 to 30"):
        nuclear_representers(*given, zero + 30, zero, **options)
    with pytest.raises(ValueError, match="test_rows and test_columns must have the same length, at least 1"):
        nuclear_representers(*given, none, none, **options)
    with pytest.raises((TypeError, ValueError)):  # the suite's type checker comes first
        nuclear_representers(*given, zero, zero, view="users", **options)
