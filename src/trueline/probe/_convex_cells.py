"""Convex polygons in the plane as lists of vertices that neighbours share, all of them at once."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, Num
from torch import Tensor


class Cells(NamedTuple):
    """Polygons, each given by its vertices counter-clockwise, one polygon after another.

    A vertex may lie on a side, where a neighbour has a corner: neighbours then share whole edges.

    Args:
        vertex: (I,) the numbers of the vertices.
        size: (R,) how many each polygon has.
    """

    vertex: Int64[Tensor, " I"]
    size: Int64[Tensor, " R"]

    def start(self) -> Int64[Tensor, " R"]:
        """Return the place at which each polygon begins."""
        return self.size.cumsum(0) - self.size

    def owner(self) -> Int64[Tensor, " I"]:
        """Return the polygon of each place."""
        return torch.arange(len(self.size), device=self.size.device).repeat_interleave(self.size)

    def following(self) -> Int64[Tensor, " I"]:
        """Return the place after each place, the first after the last."""
        after = torch.arange(1, len(self.vertex) + 1, device=self.vertex.device)
        after[self.start() + self.size - 1] = self.start()
        return after

    def take(self, cells: Int64[Tensor, " K"]) -> "Cells":
        """Return some of the polygons.

        Args:
            cells: (K,) their numbers.
        """
        return Cells(self.vertex[ranges(self.start()[cells], self.size[cells])], self.size[cells])

    def edges(self, points: int) -> Int64[Tensor, " I"]:
        """Return a number for the edge from each place to the next, the same in both directions.

        Args:
            points: more than any vertex's number.
        """
        after = self.vertex[self.following()]
        return torch.minimum(self.vertex, after) * points + torch.maximum(self.vertex, after)

    def areas(self, at: Float[Tensor, "P 2"]) -> Float[Tensor, " R"]:
        """Return the area of each polygon.

        Args:
            at: (P, 2) where the vertices are.
        """
        # From a vertex of the polygon, so that small ones far from the origin lose nothing.
        origin = at[self.vertex[self.start()]][self.owner()]
        here, there = at[self.vertex] - origin, at[self.vertex[self.following()]] - origin
        return self.sums(cross(here, there)) / 2

    def sums(self, values: Num[Tensor, "I *shape"]) -> Num[Tensor, "R *shape"]:
        """Return the sum of values over the places of each polygon.

        Args:
            values: (I, ...) one row for each place.
        """
        return values.new_zeros(len(self.size), *values.shape[1:]).index_add_(0, self.owner(), values)

    def corners(self, at: Float[Tensor, "P 2"], tolerance: float) -> Bool[Tensor, " I"]:
        """Return which places are corners, and not points on a side.

        Args:
            at: (P, 2) where the vertices are.
            tolerance: farthest from the side that counts as on it.
        """
        here, after = at[self.vertex], at[self.vertex[self.following()]]
        before = torch.empty_like(here)
        before[self.following()] = here
        chord = after - before
        height = cross(chord, here - before).abs()
        return height.gt(tolerance * torch.linalg.vector_norm(chord, dim=1))

    @staticmethod
    def cat(parts: "list[Cells]") -> "Cells":
        """Return all polygons of several lists.

        Args:
            parts: the lists.
        """
        return Cells(*(torch.cat(each) for each in zip(*parts, strict=True)))


def ranges(start: Int64[Tensor, " n"], count: Int64[Tensor, " n"]) -> Int64[Tensor, " m"]:
    """Return ``start, start + 1, ...`` for each start, so many as the count says, one range after another.

    Args:
        start: (n,) the first numbers.
        count: (n,) how many of each.
    """
    total = int(count.sum())
    before = count.cumsum(0) - count
    return torch.arange(total, device=start.device) + (start - before).repeat_interleave(count)


def cross(first: Float[Tensor, "*n 2"], second: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
    """Return the signed area of the parallelogram that two vectors span.

    Args:
        first: (..., 2) vectors.
        second: (..., 2) vectors.
    """
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def glued(cells: Cells, group: Int64[Tensor, " R"], at: Float[Tensor, "P 2"]) -> Cells:
    """Return the unions of polygons, each of which must be convex, in the order of the groups' numbers.

    Args:
        cells: (R,) polygons; those of a group share whole edges.
        group: (R,) the group of each, from 0 on.
        at: (P, 2) where the vertices are.
    """
    owner = group[cells.owner()]
    edge = cells.edges(len(at))
    by_edge = edge.argsort(stable=True)
    order = by_edge[owner[by_edge].argsort(stable=True)]
    # An edge that two polygons of a group share is inside their union.
    twice = (edge[order][1:] == edge[order][:-1]) & (owner[order][1:] == owner[order][:-1])
    none = twice.new_zeros(1)
    outer = order[~(torch.cat([twice, none]) | torch.cat([none, twice]))].sort().values
    vertex, mine = cells.vertex[outer], owner[outer]
    size = torch.bincount(mine, minlength=int(group.max()) + 1)
    middle = at.new_zeros(len(size), 2).index_add_(0, mine, at[vertex]) / size[:, None]
    arm = at[vertex] - middle[mine]
    alone = torch.bincount(group)[mine] == 1  # already in order
    angle = torch.where(alone, torch.arange(len(mine), device=at.device), torch.atan2(arm[:, 1], arm[:, 0]))
    by_angle = angle.argsort(stable=True)
    sequence = by_angle[mine[by_angle].argsort(stable=True)]
    return Cells(vertex[sequence], size)
