"""Segments in the input space, cut where a piecewise linear function has its kinks."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.probe._mesh import Combination, Mesh, largest_member

MERGED = 1e-13  # breakpoints that are closer, in units of the segment, are one
_FLAT = 2.0**-44  # of the largest value: what changes by less inside a cell is rounding, not a crossing


class SegmentMesh(Mesh):
    """Points on segments ``start + t·(end - start)``; the cells are the intervals between neighbours.

    Args:
        low: (S,) the t of the first point of each piece of a segment.
        high: (S,) the t of its last point.
        limit: most points.
    """

    def __init__(self, low: Float[Tensor, " S"], high: Float[Tensor, " S"], limit: int) -> None:
        super().__init__(2 * len(low), limit)
        numbers = torch.arange(len(low), device=low.device)
        self.t = torch.cat([low, high])
        self.piece = torch.cat([numbers, numbers])
        self.order = torch.stack([numbers, numbers + len(low)], dim=1).flatten()  # by piece, then by t

    def split(self, values: Float[Tensor, "P U"]) -> None:
        """Add the points at which a column is zero.

        Args:
            values: (P, U) affine functions on every interval.
        """
        sorted_ = values[self.order]
        interval, unit = ((sorted_[:-1] * sorted_[1:] < 0) & self._joined()[:, None]).nonzero(as_tuple=True)
        before, after = sorted_[interval, unit], sorted_[interval + 1, unit]
        steep = (before - after).abs() > _FLAT * sorted_.abs().amax()
        self._cut(interval[steep], (before / (before - after))[steep])

    def split_windows(self, values: Float[Tensor, "P U"], members: Int64[Tensor, "W K"]) -> None:
        """Add the points at which another column becomes the largest of its window.

        Args:
            values: (P, U) affine functions on every interval.
            members: (W, K) the columns of each window; -1 for none.
        """
        sorted_ = values[self.order]
        largest = largest_member(sorted_, members)
        # Where ends agree, one function is the largest at both ends, and so in between.
        interval, window = ((largest[:-1] != largest[1:]) & self._joined()[:, None]).nonzero(as_tuple=True)
        columns = members[window]
        absent = columns < 0
        before, after = (sorted_[interval[:, None] + step, columns].masked_fill(absent, -torch.inf) for step in (0, 1))
        self._cut(*_envelope(interval, before, after, _FLAT * sorted_.abs().amax()))

    def inside(self, count: int) -> Combination:
        """Return a point of each of some intervals.

        Args:
            count: most intervals.
        """
        joined = self._joined().nonzero().squeeze(1)
        some = joined[torch.linspace(0, len(joined) - 1, min(count, len(joined)), device=joined.device).long()]
        rows = torch.stack([self.order[some], self.order[some + 1]], dim=1)
        weights = self.t.new_tensor([0.6180339887498949, 0.3819660112501051]).expand(len(some), 2)
        return Combination(rows, weights)

    def _joined(self) -> Tensor:
        """Return which neighbours (P - 1,) in the order are ends of an interval."""
        piece = self.piece[self.order]
        return piece[:-1] == piece[1:]

    def _cut(self, interval: Tensor, fraction: Tensor) -> None:
        """Add points at fractions of intervals, in any order; those that nearly coincide become one."""
        low, high = self.t[self.order[interval]], self.t[self.order[interval + 1]]
        t = low + fraction * (high - low)
        apart = (t - low > MERGED) & (high - t > MERGED)
        interval, fraction, t = interval[apart], fraction[apart], t[apart]
        # Sorted by t, then stably by interval.
        by_t = t.argsort()
        sequence = by_t[interval[by_t].argsort(stable=True)]
        interval, fraction, t = interval[sequence], fraction[sequence], t[sequence]
        new = torch.ones_like(interval, dtype=torch.bool)
        new[1:] = (interval[1:] != interval[:-1]) | (t[1:] - t[:-1] > MERGED)
        interval, fraction, t = interval[new], fraction[new], t[new]
        if len(interval) == 0:
            return
        rows = torch.stack([self.order[interval], self.order[interval + 1]], dim=1)
        order = self.order.new_empty(self.points + len(interval))
        places = torch.arange(self.points, device=order.device)
        numbers = torch.arange(len(interval), device=order.device)
        order[places + torch.searchsorted(interval, places)] = self.order
        order[interval + 1 + numbers] = self.points + numbers
        self.t = torch.cat([self.t, t])
        self.piece = torch.cat([self.piece, self.piece[rows[:, 0]]])
        self.order = order
        self.add(Combination(rows, torch.stack([1 - fraction, fraction], dim=1)))


def _envelope(interval: Tensor, before: Tensor, after: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
    """Return the kinks of the largest of affine functions on the unit interval.

    Args:
        interval: (n,) the interval of each window.
        before: (n, K) the functions at its begin; minus infinity for none.
        after: (n, K) the functions at its end.
        flat: slopes that differ by less do not differ.

    Returns:
        The interval of each kink, and the fraction of the interval at which it lies.
    """
    rising = torch.where(before.isinf(), -torch.inf, after - before)
    tied = before >= before.amax(dim=1, keepdim=True)
    leader = torch.where(tied, rising, -torch.inf).argmax(dim=1, keepdim=True)
    found: list[tuple[Tensor, Tensor]] = []
    while len(interval):
        gap = before.gather(1, leader) - before
        gain = rising - rising.gather(1, leader)
        overtakes = torch.where(gain > flat, gap / gain, torch.inf)
        fraction = overtakes.amin(dim=1)
        going = fraction < 1
        interval, before, rising, overtakes, fraction = (
            part[going] for part in (interval, before, rising, overtakes, fraction)
        )
        found.append((interval, fraction))
        # Of those that overtake at once, the steepest leads from there.
        first = overtakes <= fraction[:, None]
        leader = torch.where(first, rising, -torch.inf).argmax(dim=1, keepdim=True)
    if not found:
        return interval, before.new_empty(0)
    return torch.cat([part for part, _ in found]), torch.cat([part for _, part in found])
