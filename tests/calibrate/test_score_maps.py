"""What the non-parametric maps share: ties, cuts by weight, look-ups."""

import math

import pytest
import torch

from trueline.calibrate._score_maps import (
    BEYOND,
    column_runs,
    edges_at,
    equal_mass_ranks,
    interpolated,
    padded,
    single_scores,
    step,
)

THIRDS = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64)


def _ranks(scores: list[float], mass: list[float], shares: torch.Tensor = THIRDS) -> list[int]:
    weight = torch.tensor([mass], dtype=torch.float64)
    return equal_mass_ranks(torch.tensor([scores]).float(), weight, shares)[0].tolist()


def test_scores_that_differ_by_rounding_are_equal() -> None:
    odds = torch.tensor([[1.3], [1.3 + 1e-14], [1.3 + 1e-5]], dtype=torch.float64)
    single = single_scores(odds)
    assert single[0] == single[1]
    assert single[1] < single[2]
    assert single_scores(torch.tensor([[1e300]], dtype=torch.float64)).isfinite().all()


def test_cuts_part_the_weight_evenly() -> None:
    assert _ranks([1, 2, 3, 4, 5, 6], [1] * 6) == [2, 4]
    assert _ranks([1, 2, 3, 4, 5], [1] * 5) == [2, 3]  # 1.67 and 3.33 of five
    assert _ranks([1, 2, 3, 4], [3, 1, 1, 1]) == [1, 2]  # two of six is nearest to three below; then four
    assert _ranks([1, 2], [1, 1]) == [1, 1]  # they meet
    assert _ranks([1, 2, 3, 4], [1] * 4, torch.tensor([3 / 8], dtype=torch.float64)) == [1]  # 1.5: the lower is taken


def test_ties_are_not_parted() -> None:
    assert _ranks([1, 1, 1, 1, 2, 3], [1] * 6) == [4, 4]
    assert _ranks([1, 2, 2, 2, 2, 2], [1] * 6) == [1, 1]
    assert _ranks([7, 7, 7], [1] * 3) == [3, 3]  # no cut


def test_weights_are_repetitions_in_every_cut(generator: torch.Generator) -> None:
    scores = torch.randn(20, generator=generator).sort().values
    times = torch.randint(1, 5, (20,), generator=generator)
    shares = torch.arange(1, 15, dtype=torch.float64) / 15
    edges = []
    for row, mass in (
        (scores, times.double()),
        (scores.repeat_interleave(times), torch.ones(int(times.sum())).double()),
    ):
        edges.append(edges_at(row[None], equal_mass_ranks(row[None], mass[None], shares)))
    assert torch.equal(*edges)
    scaled = equal_mass_ranks(scores[None], times[None] * 1e-7, shares)
    assert torch.equal(edges_at(scores[None], scaled), edges[0])


def test_edges_lie_midway_and_beyond_all_where_there_is_no_cut() -> None:
    ordered = torch.tensor([[1.0, 2.0, 5.0]])
    assert edges_at(ordered, torch.tensor([[1, 2, 3]])).tolist() == [[1.5, 3.5, BEYOND]]
    close = torch.tensor([[1.0, 1.0 + 2**-23]])  # neighbours in single precision have a middle in double
    edge = edges_at(close, torch.tensor([[1]]))[0, 0]
    assert close[0, 0].double() < edge < close[0, 1].double()


def test_a_step_belongs_to_the_bin_below_its_edge() -> None:
    edges, levels = torch.tensor([[0.0, 1.0]]).double(), torch.tensor([[3.0, 4.0, 5.0]]).double()
    asked = torch.tensor([[-1.0], [0.0], [0.5], [1.0], [2.0]]).double()
    assert step(edges, levels, asked)[:, 0].tolist() == [3, 3, 4, 4, 5]


def test_interpolation_is_exact_at_knots_and_flat_outside() -> None:
    knots, values = torch.tensor([[0.0, 1.0, 1.0]]).double(), torch.tensor([[0.1, 0.7, 0.7]], dtype=torch.float64)
    asked = torch.tensor([[-9.0], [0.0], [0.25], [1.0], [9.0]]).double()
    assert interpolated(knots, values, asked)[:, 0].tolist() == pytest.approx([0.1, 0.1, 0.25, 0.7, 0.7])
    assert interpolated(knots, values, asked)[1, 0].item() == 0.1
    assert interpolated(knots, values, asked)[3, 0].item() == 0.7
    jump = torch.tensor([[0.0, 0.0, 0.0]]).double()
    assert math.isfinite(interpolated(jump, values, asked).sum().item())


def test_rows_are_padded_with_their_last_value() -> None:
    assert padded([torch.tensor([1.0]), torch.tensor([2.0, 3.0])]).tolist() == [[1, 1], [2, 3]]
    assert padded([torch.tensor([1.0])], at_least=2).tolist() == [[1, 1]]


def test_runs_cover_all_columns() -> None:
    assert [list(range(7))[run] for run in column_runs(2**20, 7)] == [[0, 1], [2, 3], [4, 5], [6]]
    assert len(list(column_runs(2**30, 3))) == 3
