"""The lower envelope of functions of one variable that cross each other once, for many sets of them at once."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Crossing = Callable[[Tensor, Tensor], Tensor]


class Envelope(NamedTuple):
    """Which of T functions is the smallest on each piece of the line, for M sets of functions.

    Args:
        member: (M, T) the functions of the pieces from left to right; what is behind the last piece is of no meaning.
        start: (M, T) where each piece begins, minus infinity for the first; plus infinity behind the last piece.
        pieces: (M,) how many there are, at least 1.
    """

    member: Int64[Tensor, "M T"]
    start: Float[Tensor, "M T"]
    pieces: Int64[Tensor, " M"]

    @property
    def end(self) -> Float[Tensor, "M T"]:
        """Where each piece ends: where the next one begins."""
        return torch.cat([self.start[:, 1:], torch.full_like(self.start[:, :1], torch.inf)], dim=1)

    def trimmed(self) -> "Envelope":
        """Return the same without columns that no set needs."""
        most = int(self.pieces.max())
        return Envelope(self.member[:, :most].contiguous(), self.start[:, :most].contiguous(), self.pieces)


def lower_envelope(place: Float[Tensor, "T M"], crossing: Crossing) -> Envelope:
    """Return the lower envelope of functions whose differences are monotone, so that two of them cross at most once.

    Functions are taken from left to right and kept on a stack; a new one removes those above which it starts. This is
    done for all M sets at once.

    Args:
        place: (T, M) where each function lies; of two, the one further left is the smaller one far on the left.
        crossing: takes the numbers (M,) of a function and of one that is not further left, and returns (M,) where
            the second begins to be the smaller one: minus infinity for everywhere, plus infinity for nowhere.

    Returns:
        The pieces.

    Cost:
        ``O(T log T)`` for each set, some tens of tensor operations on (M,) for each function.
    """
    number, sets = place.shape
    rows = torch.arange(sets, device=place.device)
    member = torch.zeros((sets, number), dtype=torch.int64, device=place.device)
    start = torch.full((sets, number), torch.inf, dtype=torch.float64, device=place.device)
    count = torch.zeros(sets, dtype=torch.int64, device=place.device)
    for new in place.argsort(dim=0, stable=True):
        while True:
            top = (count - 1).clamp_min(0)
            begin = crossing(member[rows, top], new)
            begin = torch.where(count > 0, begin, -torch.inf)
            hidden = (count > 0) & (begin <= start[rows, top])
            if not hidden.any():
                break
            start[rows, top] = torch.where(hidden, torch.inf, start[rows, top])
            count -= hidden.long()
        seen = begin < torch.inf
        member[rows, count] = torch.where(seen, new, member[rows, count])
        start[rows, count] = torch.where(seen, begin, start[rows, count])
        count += seen.long()
    return Envelope(member, start, count).trimmed()


def parabola_envelope(centre: Float[Tensor, "T M"], level: Float[Tensor, "T #M"]) -> Envelope:
    """Return where each of the parabolas ``level_t + (y - centre_t)²`` is the smallest.

    Args:
        centre: (T, M) their places.
        level: (T, M) or (T, 1) their smallest values.

    Returns:
        The pieces; of parabolas that are equal the first is named.
    """
    rows, height = torch.arange(centre.shape[1], device=centre.device), level.expand_as(centre)

    def crossing(left: Tensor, right: Tensor) -> Tensor:
        gap, rise = centre[right, rows] - centre[left, rows], height[right, rows] - height[left, rows]
        # Of two in one place the lower is everywhere the smaller; `right` is the later of two that are equal.
        return torch.where(gap > 0, (centre[left, rows] + centre[right, rows]) / 2 + rise / (2 * gap), _side(rise < 0))

    return lower_envelope(centre, crossing)


def pinball_envelope(place: Float[Tensor, "T M"], level: Float[Tensor, "T #M"], tau: float) -> Envelope:
    """Return where each of ``level_t + ρ_τ(y - place_t)`` is the smallest, ``ρ_τ(u) = max(τu, (τ - 1)u)``.

    Args:
        place: (T, M) their kinks.
        level: (T, M) or (T, 1) their smallest values.
        tau: τ, in (0, 1).

    Returns:
        The pieces; where functions are equal the first of them is named.
    """
    rows, height = torch.arange(place.shape[1], device=place.device), level.expand_as(place)

    def crossing(left: Tensor, right: Tensor) -> Tensor:
        near, far = place[left, rows], place[right, rows]
        rise, first = height[right, rows] - height[left, rows], right < left
        # The difference is constant left of `near`, falls with slope -1 up to `far` and is constant from there.
        on_left, on_right = rise + (1 - tau) * (far - near), rise - tau * (far - near)
        everywhere = (on_left < 0) | ((on_left == 0) & first)
        nowhere = (on_right > 0) | ((on_right == 0) & ~first)
        return torch.where(nowhere, torch.inf, torch.where(everywhere, -torch.inf, near + on_left))

    return lower_envelope(place, crossing)


def _side(first: Tensor) -> Tensor:
    """Return minus infinity where something holds, plus infinity elsewhere."""
    return torch.where(first, -torch.inf, torch.inf).double()
