"""Convex polygons cut along chords, all polygons at once, one chord of each at a time."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.probe._convex_cells import Cells, ranges


class Chords(NamedTuple):
    """Straight cuts through polygons, each from a vertex to another one.

    Args:
        cell: (n,) the polygon.
        first: (n,) the place of one end among its vertices.
        second: (n,) the place of the other, which is larger.
        normal: (n, 2) unit vectors across.
        shift: (n,) so that ``normal·x + shift`` is zero on the line.
    """

    cell: Int64[Tensor, " n"]
    first: Int64[Tensor, " n"]
    second: Int64[Tensor, " n"]
    normal: Float[Tensor, "n 2"]
    shift: Float[Tensor, " n"]

    def take(self, some: Tensor) -> "Chords":
        """Return some of the chords.

        Args:
            some: their numbers, or which.
        """
        return Chords(*(field[some] for field in self))


AddBetween = Callable[[Tensor, Tensor, Tensor], Tensor]


def cut_along(
    cells: Cells, chords: Chords, at: Float[Tensor, "P 2"], add_between: AddBetween, tolerance: float
) -> tuple[Cells, Int64[Tensor, " R"]]:
    """Return the pieces into which chords cut polygons, and of which polygon each is one.

    Which pieces a chord runs through is read from the order of the ends around the polygon, not from rounded numbers:
    two chords cross where their ends alternate. Where a chord crosses the one that is cut along, both pieces share a
    new vertex.

    Args:
        cells: (R,) the polygons.
        chords: the cuts.
        at: (P, 2) where the vertices are.
        add_between: called with vertices (n,), other vertices (n,) and how far to go from one to the other (n,), adds
            vertices there, numbers them on and returns where all vertices are.
        tolerance: pieces that are narrower are not cut off, and vertices that are nearer become one.
    """
    has_chord = torch.zeros(len(cells.size), dtype=torch.bool, device=cells.size.device)
    has_chord[chords.cell] = True
    origin = torch.arange(len(cells.size), device=cells.size.device)
    done: list[tuple[Cells, Tensor]] = []
    while True:
        idle, busy = (~has_chord).nonzero().squeeze(1), has_chord.nonzero().squeeze(1)
        done.append((cells.take(idle), origin[idle]))
        if len(busy) == 0:
            break
        number = has_chord.cumsum(0) - 1
        cells, origin, chords = cells.take(busy), origin[busy], chords._replace(cell=number[chords.cell])
        cells, parent, chords, at = _cut_once(cells, chords, at, add_between, tolerance)
        origin = origin[parent]
        has_chord = torch.zeros(len(cells.size), dtype=torch.bool, device=cells.size.device)
        has_chord[chords.cell] = True
    return Cells.cat([part for part, _ in done]), torch.cat([part for _, part in done])


def _cut_once(
    cells: Cells, chords: Chords, at: Tensor, add_between: AddBetween, tolerance: float
) -> tuple[Cells, Tensor, Chords, Tensor]:
    """Cut each polygon along one of its chords, or drop that chord; return pieces, their polygons, the other chords."""
    chosen = _most_balanced(cells, chords)
    wide = _cuts_off_enough(cells, chords.take(chosen), at, tolerance)
    left = torch.ones_like(chords.cell, dtype=torch.bool)
    left[chosen] = False
    narrow, cut = (~wide).nonzero().squeeze(1), wide.nonzero().squeeze(1)
    number = torch.empty_like(cells.size)
    number[narrow] = torch.arange(len(narrow), device=number.device)
    number[cut] = torch.arange(len(cut), device=number.device)
    stays = chords.take(left & ~wide[chords.cell])
    moves = chords.take(left & wide[chords.cell])
    stays, moves = (part._replace(cell=number[part.cell]) for part in (stays, moves))
    pieces, moved, at = _halve(cells.take(cut), chords.take(chosen[cut]), moves, at, add_between, tolerance)
    moved = moved._replace(cell=moved.cell + len(narrow))
    together = Chords(*(torch.cat(pair) for pair in zip(stays, moved, strict=True)))
    return Cells.cat([cells.take(narrow), pieces]), torch.cat([narrow, cut, cut]), together, at


def _most_balanced(cells: Cells, chords: Chords) -> Tensor:
    """Return for each polygon the chord with the most vertices on its smaller side, so that few rounds are needed."""
    span = chords.second - chords.first
    smaller = torch.minimum(span, cells.size[chords.cell] - span)
    rank = smaller * len(span) + torch.arange(len(span), device=span.device)
    best = torch.zeros_like(cells.size).scatter_reduce_(0, chords.cell, rank, "amax", include_self=False)
    return best % len(span)


def _cuts_off_enough(cells: Cells, chords: Chords, at: Tensor, tolerance: float) -> Tensor:
    """Return whether both sides of the chord of each polygon are wider than the tolerance."""
    owner = cells.owner()
    place = torch.arange(len(owner), device=owner.device) - cells.start()[owner]
    height = ((at[cells.vertex] * chords.normal[owner]).sum(dim=1) + chords.shift[owner]).abs()
    inside = (place > chords.first[owner]) & (place < chords.second[owner])
    outside = (place < chords.first[owner]) | (place > chords.second[owner])
    widths = [
        at.new_zeros(len(cells.size)).scatter_reduce_(0, owner[side], height[side], "amax")
        for side in (inside, outside)
    ]
    return torch.minimum(*widths) > tolerance


def _halve(
    cells: Cells, cut: Chords, chords: Chords, at: Tensor, add_between: AddBetween, tolerance: float
) -> tuple[Cells, Chords, Tensor]:
    """Cut each polygon along its chord; the first halves, from ``first`` to ``second``, come before the others."""
    start, low, high = cells.start(), cut.first, cut.second
    opposite = cells.size - high + low  # place in the second half of the vertex at low; that at high is its first
    a, b = cells.vertex[start + low], cells.vertex[start + high]

    low_, high_ = low[chords.cell], high[chords.cell]
    ends = torch.stack([chords.first, chords.second])
    inside, outside = (ends > low_) & (ends < high_), (ends < low_) | (ends > high_)
    crosses = (inside.any(dim=0)) & (outside.any(dim=0))
    same = ~inside.any(dim=0) & ~outside.any(dim=0)
    in_first = ~crosses & ~same & ~outside.any(dim=0)
    in_second = ~crosses & ~same & ~inside.any(dim=0)

    # Where chords cross the one that is cut along.
    crossing = chords.take(crosses)
    from_a, from_b = ((at[end[crossing.cell]] * crossing.normal).sum(dim=1) + crossing.shift for end in (a, b))
    apart = from_a - from_b
    fraction = torch.where(apart == 0, 0, from_a / torch.where(apart == 0, 1, apart)).clamp(0, 1)
    length = torch.linalg.vector_norm(at[b] - at[a], dim=1)[crossing.cell]
    at_a = fraction * length <= tolerance
    at_b = ~at_a & ((1 - fraction) * length <= tolerance)
    between = (~at_a & ~at_b).nonzero().squeeze(1)
    of, fraction, length = crossing.cell[between], fraction[between], length[between]
    group, new_cell, new_fraction = merged_along(of, fraction, length, tolerance)
    many = torch.bincount(new_cell, minlength=len(a))
    before = many.cumsum(0) - many
    first_new = len(at) + before
    if len(new_cell):
        at = add_between(a[new_cell], b[new_cell], new_fraction)

    # Their ends on it, by place in both halves.
    here = crossing.cell
    in_one = torch.where(at_a, 0, (high - low)[here])
    in_two = torch.where(at_a, opposite[here], 0)
    step = group - before[of] + 1  # from a on, counted from one
    in_one[between] = (high - low)[of] + many[of] - step + 1
    in_two[between] = opposite[of] + step

    def shifted(places: Tensor, of: Tensor) -> Tensor:
        """Return places in the second half from those in the polygon."""
        return torch.where(places >= high[of], places - high[of], places + cells.size[of] - high[of])

    crossing_inside = torch.where(inside[0], chords.first, chords.second)[crosses]
    crossing_outside = torch.where(inside[0], chords.second, chords.first)[crosses]
    only_first, only_second = chords.take(in_first), chords.take(in_second)
    parts = [
        (
            only_first,
            only_first.cell,
            only_first.first - low[only_first.cell],
            only_first.second - low[only_first.cell],
        ),
        (
            only_second,
            only_second.cell + len(a),
            shifted(only_second.first, only_second.cell),
            shifted(only_second.second, only_second.cell),
        ),
        (crossing, here, crossing_inside - low[here], in_one),
        (crossing, here + len(a), shifted(crossing_outside, here), in_two),
    ]
    moved = Chords(
        torch.cat([part for _, part, _, _ in parts]),
        torch.cat([torch.minimum(one, two) for _, _, one, two in parts]),
        torch.cat([torch.maximum(one, two) for _, _, one, two in parts]),
        torch.cat([part.normal for part, _, _, _ in parts]),
        torch.cat([part.shift for part, _, _, _ in parts]),
    )

    old_one, old_two = high - low + 1, opposite + 1
    one = _followed(cells, start, low, old_one, first_new, many, backwards=True)
    two = _followed(cells, start, high, old_two, first_new, many, backwards=False)
    return Cells.cat([Cells(one, old_one + many), Cells(two, old_two + many)]), moved, at


def _followed(
    cells: Cells, start: Tensor, begin: Tensor, old: Tensor, first_new: Tensor, many: Tensor, *, backwards: bool
) -> Tensor:
    """Return polygons that follow others from a place on, and then the new vertices."""
    size = old + many
    owner = torch.arange(len(size), device=size.device).repeat_interleave(size)
    place = ranges(torch.zeros_like(size), size)
    is_new = place >= old[owner]
    kept = start[owner] + (begin[owner] + place) % cells.size[owner]
    step = place - old[owner]
    number = first_new[owner] + (many[owner] - 1 - step if backwards else step)
    return torch.where(is_new, number, cells.vertex[kept])


def merged_along(
    line: Int64[Tensor, " n"], fraction: Float[Tensor, " n"], length: Float[Tensor, " n"], tolerance: float
) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " m"], Float[Tensor, " m"]]:
    """Return points on lines, those that nearly coincide as one.

    Args:
        line: (n,) the line of each point.
        fraction: (n,) how far along it.
        length: (n,) of its line.
        tolerance: distance between points that are one.

    Returns:
        The number of the point that each becomes; their lines, in order; and how far along it, in order.
    """
    by_fraction = fraction.argsort()
    order = by_fraction[line[by_fraction].argsort(stable=True)]
    line, fraction, length = line[order], fraction[order], length[order]
    new = torch.ones_like(line, dtype=torch.bool)
    new[1:] = (line[1:] != line[:-1]) | (fraction.diff() * length[1:] > tolerance)
    group = torch.empty_like(order)
    group[order] = new.cumsum(0) - 1
    return group, line[new], fraction[new]
