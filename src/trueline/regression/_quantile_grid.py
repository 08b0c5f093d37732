"""Predictive distributions given by quantiles at fixed levels, straight lines between them and exponential tails."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.regression._predictive import Predictive, check_levels, check_outcomes, check_parameters


@method(
    Reference(
        authors="Victor Chernozhukov, Iván Fernández-Val, Alfred Galichon",
        title="Quantile and Probability Curves Without Crossing",
        venue="Econometrica",
        year=2010,
        arxiv="0704.3649",
    ),
    cost="L levels: one sort of the predicted quantiles, then L operations per value",
)
@dataclass(frozen=True, eq=False)
class QuantileGrid(Predictive):
    """A distribution for each sample whose quantiles at L levels are given.

    Quantiles that cross are sorted, which never moves them further from the true ones. Between neighbours the cdf is a
    straight line. Below the lowest quantile q, of level t, it is ``t·exp((y - q)/s)`` with ``s = t/f``, where f is the
    density of the first segment, so that the density does not jump; the upper tail is its mirror image. These tails are
    our choice: the levels say nothing about them. Equal neighbours make an atom, and where the outermost two are
    equal the tail is part of it.

    Args:
        quantiles: (N, L) predicted quantiles, L at least 2, in the unit of the outcome; in any order.
        levels: (L,) their levels, ascending, in (0, 1).

    Attributes:
        quantiles: (N, L) the same, ascending.

    Raises:
        ValueError: if shapes do not fit, a value is not finite or levels do not ascend in (0, 1).

    Example:
        >>> grid = QuantileGrid(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([0.25, 0.5, 0.75]))
        >>> grid.quantiles.tolist(), grid.cdf(torch.tensor([1.5])).item()
        ([[0.0, 1.0, 2.0]], 0.625)
    """

    quantiles: Float[Tensor, "N L"]
    levels: Float[Tensor, " L"]

    def __post_init__(self) -> None:
        check_parameters(quantiles=self.quantiles)
        if self.quantiles.ndim != 2 or self.quantiles.shape[1:] != self.levels.shape or len(self.levels) < 2:
            raise ValueError(
                "quantiles must have shape (N, L) and levels (L,) with L >= 2, got "
                f"{tuple(self.quantiles.shape)} and {tuple(self.levels.shape)}"
            )
        if not ((self.levels > 0) & (self.levels < 1)).all() or not (self.levels.diff() > 0).all():
            raise ValueError(f"levels must ascend strictly inside (0, 1), got {self.levels.tolist()}")
        object.__setattr__(self, "quantiles", self.quantiles.sort(dim=1).values)
        object.__setattr__(self, "levels", self.levels.to(self.quantiles.dtype))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.quantiles)

    def cdf(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return the probability of an outcome of at most y; see :meth:`Predictive.cdf`."""
        return self._cdf(y, right=True)

    def cdf_below(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return the probability of an outcome strictly below y; see :meth:`Predictive.cdf_below`."""
        return self._cdf(y, right=False)

    def quantile(self, levels: Float[Tensor, " L"]) -> Float[Tensor, "N L"]:
        """Return the quantiles at any levels; see :meth:`Predictive.quantile`."""
        check_levels(levels)
        q, t = self.quantiles, self.levels
        wanted = levels.to(torch.promote_types(levels.dtype, q.dtype))
        place = torch.searchsorted(t.to(wanted.dtype), wanted).clamp(1, len(t) - 1)
        share = ((wanted - t[place - 1]) / (t[place] - t[place - 1])).clamp(0, 1)
        inner = q[:, place - 1] + share * (q[:, place] - q[:, place - 1])
        low, high = self._tails()
        below = torch.where(wanted < t[0], wanted / t[0], 1).log()
        above = torch.where(wanted > t[-1], (1 - wanted) / (1 - t[-1]), 1).log()
        # An empty tail has no outermost point, not even where the logarithm is infinite.
        out = [torch.where(scale[:, None] > 0, scale[:, None] * log, 0) for scale, log in ((low, below), (high, above))]
        return inner + out[0] - out[1]

    def log_density(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return the log density, infinite at an atom; see :meth:`Predictive.log_density`.

        At a quantile, where two segments meet, it is that of the segment above.
        """
        rows, shape = self._rows(y)
        q, t = self.quantiles.to(rows.dtype), self.levels.to(rows.dtype)
        ordered, points = q.detach().contiguous(), rows.detach().contiguous()
        upto = torch.searchsorted(ordered, points, right=True)
        atom = upto - torch.searchsorted(ordered, points) > 1
        place = upto.clamp(1, len(t) - 1)
        width = q.gather(1, place) - q.gather(1, place - 1)
        inner = (t[place] - t[place - 1]).log() - torch.where(width > 0, width, 1).log()
        inner = torch.where(atom, torch.inf, inner)
        for scale, mass, distance in (
            (self._tails()[0][:, None], t[0], q[:, :1] - rows),
            (self._tails()[1][:, None], 1 - t[-1], rows - q[:, -1:]),
        ):
            safe = torch.where(scale > 0, scale, 1)
            tail = torch.where(scale > 0, mass.log() - safe.log() - distance / safe, -torch.inf)
            inner = torch.where(distance > 0, tail, inner)
        return inner.reshape(shape)

    def mean(self) -> Float[Tensor, " N"]:
        """Return the mean of each distribution, in the unit of the outcome."""
        q, t = self.quantiles, self.levels
        (low, high), middles = self._tails(), (q[:, 1:] + q[:, :-1]) / 2
        return middles @ t.diff() + t[0] * (q[:, 0] - low) + (1 - t[-1]) * (q[:, -1] + high)

    def crps(self, y: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Return the score in closed form, segment by segment; see :meth:`Predictive.crps`."""
        check_outcomes(y, len(self))
        q, t = self.quantiles, self.levels
        low, high = q[:, :-1], q[:, 1:]
        at = torch.minimum(torch.maximum(y[:, None], low), high)
        width = torch.where(high > low, high - low, 1)
        level = t[:-1] + (at - low) / width * t.diff()
        level = torch.where(high > low, level, t[:-1])
        left = (at - low) * _mean_square(t[:-1], level)
        right = (high - at) * _mean_square(1 - level, 1 - t[1:])
        tails = self._tails()
        ends = _tail(y - q[:, 0], tails[0], t[0]) + _tail(q[:, -1] - y, tails[1], 1 - t[-1])
        return (left + right).sum(dim=1) + ends

    def _cdf(self, y: Tensor, *, right: bool) -> Tensor:
        rows, shape = self._rows(y)
        q, t = self.quantiles.to(rows.dtype), self.levels.to(rows.dtype)
        place = torch.searchsorted(q.detach().contiguous(), rows.detach().contiguous(), right=right)
        upper = place.clamp(1, len(t) - 1)
        low, high = q.gather(1, upper - 1), q.gather(1, upper)
        width = torch.where(high > low, high - low, 1)  # equal only in a tail, which is computed below
        share = ((rows - low) / width).clamp(0, 1)
        inner = t[upper - 1] + share * (t[upper] - t[upper - 1])
        (first, last), edge = self._tails(), float(right)
        lower = _decay(rows - q[:, :1], first[:, None], edge)
        higher = _decay(q[:, -1:] - rows, last[:, None], 1 - edge)
        inner = torch.where(place == 0, t[0] * lower, inner)
        return torch.where(place == len(t), 1 - (1 - t[-1]) * higher, inner).reshape(shape)

    def _tails(self) -> tuple[Tensor, Tensor]:
        """Return the scales of the lower and the upper tail."""
        q, t = self.quantiles, self.levels
        low = t[0] * (q[:, 1] - q[:, 0]) / (t[1] - t[0])
        return low, (1 - t[-1]) * (q[:, -1] - q[:, -2]) / (t[-1] - t[-2])

    def _rows(self, y: Tensor) -> tuple[Tensor, torch.Size]:
        check_outcomes(y, len(self))
        dtype = torch.promote_types(y.dtype, self.quantiles.dtype)
        return y.to(dtype).reshape(len(y), -1), y.shape


def _decay(distance: Tensor, scale: Tensor, edge: float) -> Tensor:
    """Return ``exp(distance/scale)`` for distances up to zero; for no scale, 0 below and ``edge`` at zero."""
    safe = torch.where(scale > 0, scale, 1)
    inside = distance.clamp_max(0)
    return torch.where(scale > 0, (inside / safe).exp(), torch.where(distance < 0, 0, edge))


def _mean_square(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of x² for x from a to b."""
    return (a * a + a * b + b * b) / 3


def _tail(distance: Tensor, scale: Tensor, mass: Tensor) -> Tensor:
    """Return the part of the score in a tail of the given mass, for an outcome this far inside its edge."""
    reach = distance.clamp_max(0)
    decay = _decay(reach, scale, 1.0)
    below = mass.square() * scale / 2 * decay.square()
    beside = -reach - 2 * mass * scale * (1 - decay) + mass.square() * scale / 2 * (1 - decay.square())
    return below + beside
