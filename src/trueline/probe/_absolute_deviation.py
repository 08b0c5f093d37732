"""How far a function on a segment is from the straight line between its ends."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def absolute_deviation(
    t: Float[Tensor, " M"],
    values: Float[Tensor, "M C"],
    segment: Int64[Tensor, " M"] | None = None,
) -> Float[Tensor, "S C"]:
    """Return the mean distance of piecewise linear functions from their chords.

    ``∫_0^1 |f(t) - ((1 - t)·f(0) + t·f(1))| dt``, exactly: between two vertices the difference d is linear, so that its
    absolute value encloses ``w·(|d_i| + |d_(i+1)|)/2`` where the signs agree and ``w·(d_i² + d_(i+1)²)/(2·(|d_i| +
    |d_(i+1)|))`` where they do not, with w the width. Times the length of the segment it is the absolute deviation of
    Gamba et al. (2022).

    Args:
        t: (M,) the vertices of all segments, ascending from 0 to 1 within each.
        values: (M, C) the functions there.
        segment: (M,) the number of the segment of each vertex, ascending from 0; None for a single segment.

    Returns:
        (S, C) in the unit of the values.

    Raises:
        ValueError: if a segment does not go from 0 to 1 in ascending order.

    Example:
        >>> t, values = torch.tensor([0.0, 0.5, 1.0]).double(), torch.tensor([[1.0], [0.0], [1.0]]).double()
        >>> absolute_deviation(t, values)  # of |x| on [-1, 1], per unit length
        tensor([[0.5000]], dtype=torch.float64)
    """
    segment = torch.zeros_like(t, dtype=torch.int64) if segment is None else segment
    width, before, after, joined = _differences(t, values, segment)
    across = before * after < 0
    size = before.abs() + after.abs()
    area = torch.where(across, (before.square() + after.square()) / torch.where(size > 0, size, 1), size) * width / 2
    return _summed(area, joined)


def absolute_deviation_bound(
    t: Float[Tensor, " M"],
    values: Float[Tensor, "M C"],
    segment: Int64[Tensor, " M"] | None = None,
) -> Float[Tensor, "S C"]:
    """Return the upper bound on :func:`absolute_deviation` that the authors' released code computes in its place.

    ``∫_0^1 (|a(t)| + t·|b(t)|) dt``, where ``a + b·t`` is the difference from the chord on each piece: the absolute
    values are taken before integrating, so that it is never below the integral. It is here to compare with published
    values.

    Args:
        t: (M,) as for :func:`absolute_deviation`.
        values: (M, C) likewise.
        segment: (M,) likewise.

    Returns:
        (S, C) in the unit of the values.

    Raises:
        ValueError: if a segment does not go from 0 to 1 in ascending order.

    Example:
        >>> t, values = torch.tensor([0.0, 0.5, 1.0]).double(), torch.tensor([[1.0], [0.0], [1.0]]).double()
        >>> absolute_deviation_bound(t, values)
        tensor([[2.]], dtype=torch.float64)
    """
    segment = torch.zeros_like(t, dtype=torch.int64) if segment is None else segment
    width, before, after, joined = _differences(t, values, segment)
    low = t[:-1][joined][:, None]
    slope = (after - before) / torch.where(width > 0, width, 1)
    offset = before - slope * low
    area = offset.abs() * width + slope.abs() * ((low + width).square() - low.square()) / 2
    return _summed(area, joined)


def _differences(t: Tensor, values: Tensor, segment: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the width of each interval, the differences from the chord at its ends, and which neighbours form one."""
    if len(t) != len(values) or len(t) < 2 or len(segment) != len(t):
        raise ValueError(
            f"t, values and segment must hold the same vertices, at least 2, got {len(t)}, {len(values)} and "
            f"{len(segment)}"
        )
    joined = segment[1:] == segment[:-1]
    first = torch.cat([joined.new_ones(1), ~joined])
    last = torch.cat([~joined, joined.new_ones(1)])
    if (t[first] != 0).any() or (t[last] != 1).any() or (t.diff()[joined] < 0).any():
        raise ValueError("the vertices of each segment must go from t = 0 to t = 1 in ascending order")
    number = first.cumsum(0) - 1
    chord = values[first][number] * (1 - t)[:, None] + values[last][number] * t[:, None]
    gap = values - chord
    return t.diff()[joined][:, None], gap[:-1][joined], gap[1:][joined], joined


def _summed(area: Tensor, joined: Tensor) -> Tensor:
    number = torch.cat([joined.new_zeros(1), ~joined]).cumsum(0)
    total = area.new_zeros(int(number[-1]) + 1, area.shape[1])
    return total.index_add_(0, number[:-1][joined], area)
