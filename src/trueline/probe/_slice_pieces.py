"""A convex part of a plane through a piecewise linear network, in as many pieces as the memory asks for."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.probe._convex_cells import Cells, glued, ranges
from trueline.probe._mesh import TooManyPointsError
from trueline.probe._slice_mesh import SliceMesh

_CUT_AT = 0.5077126911  # of the longer side; not at a half, where borders of regions may well be
_HALVINGS = 32  # after which a piece is run whatever it needs: many regions may meet in one point


class Piece(NamedTuple):
    """Part of a plane, and what the network does there.

    Args:
        at: (P, 2) the vertices.
        logits: (P, C) there.
        cells: the linear regions.
    """

    at: Float[Tensor, "P 2"]
    logits: Float[Tensor, "P C"]
    cells: Cells


class Room(NamedTuple):
    """How much is run at once.

    Args:
        points: most points.
        numbers: most values of all points together at one operation.
    """

    points: float
    numbers: float


def trace_polygon(
    run: Callable[[SliceMesh], Tensor], polygon: Float[Tensor, "n 2"], tolerance: float, room: Room, halvings: int = 0
) -> Piece:
    """Return the linear regions of a network in a convex polygon.

    A polygon that needs more than the room is cut in two. No unit changes its sign across such a cut, so that the two
    parts of a region, which meet in the same stretch of it, are put together again.

    Args:
        run: the network; cuts the mesh and returns the logits (P, C) at its points.
        polygon: (n, 2) corners, counter-clockwise.
        tolerance: distance of points that are one.
        room: how much is run at once.
        halvings: how often it was cut already.
    """
    corners = torch.arange(len(polygon), device=polygon.device)
    limits = room if halvings < _HALVINGS else Room(math.inf, math.inf)
    mesh = SliceMesh(polygon, Cells(corners, corners.new_tensor([len(polygon)])), tolerance, *limits)
    try:
        return Piece(logits=run(mesh), at=mesh.at, cells=mesh.cells)
    except TooManyPointsError:
        pass
    low, high = polygon.amin(dim=0), polygon.amax(dim=0)
    axis = int((high - low).argmax())
    level = low[axis] + _CUT_AT * (high[axis] - low[axis])
    left, right = (
        trace_polygon(run, _half(polygon, axis, level, side), tolerance, room, halvings + 1) for side in (1, -1)
    )
    return _joined(left, right, axis, level, tolerance)


def _half(polygon: Tensor, axis: int, level: Tensor, side: int) -> Tensor:
    """Return the part of a convex polygon below (side 1) or above (side -1) a level of a coordinate."""
    after = polygon.roll(-1, dims=0)
    depth, depth_after = side * (level - polygon[:, axis]), side * (level - after[:, axis])
    fraction = (depth / (depth - depth_after))[:, None]
    crossing = polygon + fraction * (after - polygon)
    crossing[:, axis] = level
    kept = torch.stack([depth >= 0, depth * depth_after < 0], dim=1).flatten()
    return torch.stack([polygon, crossing], dim=1).flatten(0, 1)[kept]


def _joined(left: Piece, right: Piece, axis: int, level: Tensor, tolerance: float) -> Piece:
    """Return two pieces as one, the parts of regions on both sides of the cut put together."""
    at, logits = torch.cat([left.at, right.at]), torch.cat([left.logits, right.logits])
    cells = Cells.cat([left.cells, right.cells._replace(vertex=right.cells.vertex + len(left.at))])
    stop = torch.zeros(len(at), dtype=torch.bool, device=at.device)
    stop[cells.vertex] = True
    stop &= (at[:, axis] - level).abs() <= tolerance
    # The vertices on the cut, in order; those of both sides that are one become one.
    stops = stop.nonzero().squeeze(1)
    stops = stops[at[stops, 1 - axis].argsort()]
    new = torch.ones_like(stops, dtype=torch.bool)
    new[1:] = at[stops, 1 - axis].diff() > 4 * tolerance
    rank = torch.full_like(stop, -1, dtype=torch.int64)
    rank[stops] = new.cumsum(0) - 1
    name = torch.arange(len(at), device=at.device)
    kept = stops[new]
    name[stops] = kept[rank[stops]]

    # An edge on the cut goes through all vertices on the cut that are between its ends; one without length goes.
    here, there = rank[cells.vertex], rank[cells.vertex[cells.following()]]
    on_cut = (here >= 0) & (there >= 0)
    gone = on_cut & (here == there)
    extra = torch.where(on_cut & ~gone, (there - here).abs() - 1, 0)
    many = extra + (~gone).long()
    place = torch.arange(len(here), device=at.device).repeat_interleave(many)
    step = ranges(torch.zeros_like(many), many)
    direction = torch.where(there > here, 1, -1)
    between = kept[(here[place] + direction[place] * step).clamp_min(0)]
    vertex = torch.where(step == 0, name[cells.vertex[place]], between)
    cells = Cells(vertex, cells.sums(many))

    # Cells on both sides of one edge of the cut are one region.
    edge, owner = cells.edges(len(at)), cells.owner()
    on_cut = (rank[cells.vertex] >= 0) & (rank[cells.vertex[cells.following()]] >= 0)
    edge, owner = edge[on_cut], owner[on_cut]
    order = edge.argsort(stable=True)  # left comes first
    edge, owner = edge[order], owner[order]
    twice = (edge[1:] == edge[:-1]).nonzero().squeeze(1)
    group = torch.arange(len(cells.size), device=at.device)
    group[owner[twice + 1]] = owner[twice]
    cells = glued(cells, torch.unique(group, return_inverse=True)[1], at)
    used, number = torch.unique(cells.vertex, return_inverse=True)
    return Piece(at[used], logits[used], cells._replace(vertex=number))
