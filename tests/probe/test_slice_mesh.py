"""Cells in the plane: how many, where, and that they stay a partition however lines meet."""

import itertools
import math

import pytest
import torch
from oracles.slice_partition import arrangement_regions
from torch import Tensor

from trueline.probe._convex_cells import Cells, ranges
from trueline.probe._mesh import TooManyPointsError
from trueline.probe._slice_mesh import SliceMesh

TOLERANCE = 1e-12


def square(**limits: float) -> SliceMesh:
    at = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]], dtype=torch.float64)
    return SliceMesh(at, Cells(torch.arange(4), torch.tensor([4])), TOLERANCE, **limits)


def lines_of(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def values(mesh: SliceMesh, lines: Tensor) -> Tensor:
    return mesh.at @ lines[:, :2].T + lines[:, 2]


def drawn_lines(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(count, 2, dtype=torch.float64, generator=generator)
    through = torch.rand(count, 2, dtype=torch.float64, generator=generator) * 1.2 - 0.1
    return torch.cat([normal, -(normal * through).sum(dim=1, keepdim=True)], dim=1)


def check_partition(mesh: SliceMesh, whole: float = 1.0) -> None:
    """Cells cover the square once, turn to the left everywhere, and share whole edges."""
    cells, at = mesh.cells, mesh.at
    areas = cells.areas(at)
    assert (areas > 0).all()
    assert areas.sum().item() == pytest.approx(whole, rel=1e-12)
    corner = cells.corners(at, 4 * TOLERANCE)
    assert (cells.sums(corner.long()) >= 3).all()
    edges = cells.edges(mesh.points)
    unique, count = edges.unique(return_counts=True)
    assert count.max() <= 2
    outside = unique[count == 1]
    for ends in (at[outside // mesh.points], at[outside % mesh.points]):
        assert ((ends == 0) | (ends == 1)).any(dim=1).all()
    # Euler: V - E + F = 1 without the outer face.
    assert len(cells.vertex.unique()) - len(unique) + len(cells.size) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20, 60])
@pytest.mark.parametrize("seed", [0, 1])
def test_lines_in_general_position_make_as_many_cells_as_euler_says(count: int, seed: int) -> None:
    lines = drawn_lines(count, seed)
    mesh = square()
    mesh.split(values(mesh, lines))
    check_partition(mesh)
    assert len(mesh.cells.size) == arrangement_regions([tuple(row) for row in lines.tolist()], (0, 0), (1, 1))
    assert len(mesh.cells.size) <= 1 + count + math.comb(count, 2)
    # No line goes through a cell.
    found = values(mesh, lines)[mesh.cells.vertex]
    owner = mesh.cells.owner()
    for line in found.T:
        above = torch.bincount(owner[line > 1e-12], minlength=len(mesh.cells.size)) > 0
        below = torch.bincount(owner[line < -1e-12], minlength=len(mesh.cells.size)) > 0
        assert not (above & below).any()


def test_one_after_another_and_all_at_once_are_the_same() -> None:
    lines = drawn_lines(25, 3)
    together, apart = square(), square()
    together.split(values(together, lines))
    for row in lines:
        apart.split(values(apart, row[None]))
    check_partition(apart)
    one, other = (mesh.cells.areas(mesh.at).sort().values for mesh in (together, apart))
    assert torch.allclose(one, other, rtol=0, atol=1e-14)


def test_the_values_at_new_points_are_the_means_of_old_ones() -> None:
    lines = drawn_lines(12, 4)
    mesh = square()
    before = values(mesh, lines)
    mesh.split(before)
    assert mesh.points == len(mesh.at)
    assert torch.allclose(mesh.refine(before), values(mesh, lines), atol=1e-14)
    inside = mesh.inside(10)
    assert len(inside.rows) == 10
    assert torch.allclose(inside.weights.sum(dim=1), torch.ones(10, dtype=torch.float64))
    places = inside.of(mesh.at)
    assert ((places > 0) & (places < 1)).all()


@pytest.mark.parametrize(
    ("lines", "cells"),
    [
        (lines_of((1, 0, -0.5), (1, 0, -0.5), (-2, 0, 1)), 2),  # three units with one line
        (lines_of((1, 0, -0.5), (1, 0, -0.25), (0, 1, -0.5)), 6),  # parallel
        (lines_of((1, -1, 0)), 2),  # through two corners
        (lines_of((1, -1, 0), (1, 1, -1)), 4),  # both diagonals
        (lines_of((1, -1, 0), (1, 1, -1), (1, 0, -0.5), (0, 1, -0.5)), 8),  # four lines through one point
        (lines_of((1, 0, 0), (0, 1, -1), (1, 1, 0)), 1),  # along edges and touching a corner
        (lines_of((1, 0, 0), (2, -1, 0)), 2),  # through one corner
        (lines_of((1, 0, -2), (0, 0, 1), (0, 0, 0)), 1),  # elsewhere; a constant; a dead unit
        (lines_of((1, 0, -5e-13), (1, 1, -5e-13)), 1),  # slivers below the tolerance
        (lines_of((1, 0, -0.5), (1, 0, -0.5 - 5e-13)), 2),
        (lines_of((1, 0, -1e-15), (1, 1, -1e-15)), 1),  # and below rounding
        (lines_of((1, 0, -1e-9)), 2),  # and above
        (lines_of((1, 0, -0.5), (1, 1e-14, -0.5)), 2),  # nearly the same line
        (lines_of((1, 0, -0.5), (1, 1e-9, -0.5)), 3),
    ],
)
def test_lines_that_meet_specially(lines: Tensor, cells: int) -> None:
    for order in itertools.islice(itertools.permutations(range(len(lines))), 24):
        mesh = square()
        mesh.split(values(mesh, lines[list(order)]))
        check_partition(mesh)
        assert len(mesh.cells.size) == cells
        mesh.split(values(mesh, lines))  # a second time changes nothing
        assert len(mesh.cells.size) == cells


def test_many_lines_through_one_point_and_a_grid() -> None:
    angles = torch.arange(16, dtype=torch.float64) * math.pi / 16 + 0.05
    star = torch.stack([angles.cos(), angles.sin(), -(0.4 * angles.cos() + 0.6 * angles.sin())], dim=1)
    mesh = square()
    mesh.split(values(mesh, star))
    check_partition(mesh)
    assert len(mesh.cells.size) == 32
    ticks = torch.arange(1, 8, dtype=torch.float64) / 8
    grid = torch.cat(
        [torch.tensor([[1.0, 0, -t] for t in ticks]), torch.tensor([[0.0, 1, -t] for t in ticks])]
    ).double()
    mesh = square()
    mesh.split(values(mesh, grid))
    check_partition(mesh)
    assert len(mesh.cells.size) == 64
    diagonals = torch.tensor([[1.0, -1, k / 8] for k in range(-7, 8)], dtype=torch.float64)  # all through grid points
    mesh.split(values(mesh, diagonals))
    check_partition(mesh)
    assert len(mesh.cells.size) == 128


# Windows


def test_three_members_that_meet_in_a_point_make_three_cells() -> None:
    angles = torch.tensor([0.1, 2.2, 4.3], dtype=torch.float64)
    members = torch.stack([angles.cos(), angles.sin(), -0.5 * (angles.cos() + angles.sin())], dim=1)
    mesh = square()
    mesh.split_windows(values(mesh, members), torch.tensor([[0, 1, 2]]))
    check_partition(mesh)
    assert len(mesh.cells.size) == 3
    centre = (mesh.at - 0.5).norm(dim=1).argmin()
    assert (mesh.cells.vertex == centre).sum() == 3


def test_a_member_that_leads_only_in_the_middle_is_found() -> None:
    planes = lines_of((2, 0, -1.5), (-2, 0, 0.5), (0, 2, -1.5), (0, -2, 0.5), (0, 0, 0))
    mesh = square()
    mesh.split_windows(values(mesh, planes), torch.arange(5)[None])
    check_partition(mesh)
    assert len(mesh.cells.size) == 5
    assert (mesh.cells.areas(mesh.at) - 0.25).abs().min() < 1e-12  # a square of side one half


@pytest.mark.parametrize(("windows", "width"), [(1, 12), (6, 4), (15, 4), (3, 9)])
def test_cells_of_windows_are_those_of_their_winners(windows: int, width: int) -> None:
    generator = torch.Generator().manual_seed(windows)
    planes = torch.randn(windows * width, 3, dtype=torch.float64, generator=generator)
    planes[:, 2] *= 0.4
    members = torch.arange(windows * width).view(windows, width)
    members[0, -1] = -1
    mesh = square()
    mesh.split_windows(values(mesh, planes), members)
    check_partition(mesh)
    # The winner does not change in a cell, and neighbours differ in a winner.
    heights = values(mesh, planes)
    means = mesh.cells.sums(heights[mesh.cells.vertex]) / mesh.cells.size[:, None]
    owner = mesh.cells.owner()
    winners = []
    for window in members:
        own = window[window >= 0]
        winner = own[means[:, own].argmax(dim=1)]
        best = heights[mesh.cells.vertex][:, own].amax(dim=1)
        mine = heights[mesh.cells.vertex, winner[owner]]
        assert (best - mine).max() < 1e-12
        winners.append(winner)
    patterns = torch.stack(winners, dim=1)
    assert len(patterns.unique(dim=0)) == len(patterns)  # one window's cells are convex, so are intersections
    # Nothing is missed: every pattern of many points is there.
    places = torch.rand(20_000, 2, dtype=torch.float64, generator=generator)
    seen = places @ planes[:, :2].T + planes[:, 2]
    seen = torch.stack([window[window >= 0][seen[:, window[window >= 0]].argmax(dim=1)] for window in members], dim=1)
    known = {tuple(row) for row in patterns.tolist()}
    assert {tuple(row) for row in seen.unique(dim=0).tolist()} <= known


def test_members_that_are_equal_are_not_parted() -> None:
    planes = lines_of((1, 0, -0.5), (1, 0, -0.5), (0, 0, 0), (0, 0, 0))
    mesh = square()
    mesh.split_windows(values(mesh, planes), torch.tensor([[0, 1, 2, 3]]))
    check_partition(mesh)
    assert len(mesh.cells.size) == 2


# Room and helpers


def test_there_are_no_more_points_and_numbers_than_fit() -> None:
    lines = drawn_lines(20, 0)
    mesh = square(limit=30)
    with pytest.raises(TooManyPointsError):
        mesh.split(values(mesh, lines))
    mesh = square(numbers=50)
    with pytest.raises(TooManyPointsError):
        mesh.split(values(mesh, lines))


def test_ranges_are_one_after_another() -> None:
    found = ranges(torch.tensor([5, 0, 7]), torch.tensor([2, 0, 3]))
    assert found.tolist() == [5, 6, 7, 8, 9]
