"""Conformalised early stopping for quantile regression, by Liang, Zhou and Sesia (2023)."""

from collections.abc import Iterator
from typing import TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.conformal._checkpoint_values import LIANG, hull, read_checkpoints, read_outcomes, unions, warned_rank
from trueline.conformal._conformal_quantile import check_alpha
from trueline.conformal._lower_envelope import pinball_envelope
from trueline.contracts import Fittable, method
from trueline.numerics import conformal_rank, order_statistic

E = TypeVar("E", bound="ConformalEarlyStoppingQuantiles")

_BLOCK = 1 << 20  # scores held at once


@method(
    LIANG,
    cost="two predicted quantiles of T checkpoints for every sample; O(T log T) a prediction for two lower envelopes, "
    "and one pass over the N calibration samples for each pair of checkpoints that occurs",
)
class ConformalEarlyStoppingQuantiles(Fittable):
    """Intervals from two predicted quantiles, valid when the same samples choose the checkpoints and calibrate them.

    The lower and the upper quantile are each predicted by the checkpoint with the smallest pinball loss, counting the
    new sample with outcome y: ``t(y) = argmin_t L_t + ρ_τ(y - q_t(x))``. y is in the set if its score
    ``max(lower - y, y - upper)`` is at most the conformal quantile of the calibration scores of that pair of
    checkpoints. Which pair is chosen changes with y at the breakpoints of two lower envelopes of T pinball losses, so
    the set is a union of intervals, and exact.

    Args:
        alpha: wanted rate of misses, in (0, 1).
        levels: the levels of the two quantiles that the checkpoints predict; None for alpha/2 and 1 - alpha/2.

    Attributes:
        losses_: (2, T) sums of pinball losses of each checkpoint, lower and upper quantile.
        lower_: (T, N) the predicted lower quantiles of the calibration samples.
        upper_: (T, N) the upper ones.
        y_: (N,) their outcomes.

    Example:
        >>> y, zeros = torch.arange(1.0, 10.0), torch.zeros(1, 9)
        >>> stopped = ConformalEarlyStoppingQuantiles(0.2).fit(y, lower=zeros - 1, upper=zeros)
        >>> stopped.predict_interval(lower=torch.tensor([[-1.0]]), upper=torch.tensor([[0.0]])).tolist()
        [[-9.0, 8.0]]
    """

    losses_: Float[Tensor, "2 T"]
    lower_: Float[Tensor, "T N"]
    upper_: Float[Tensor, "T N"]
    y_: Float[Tensor, " N"]

    def __init__(self, alpha: float, *, levels: tuple[float, float] | None = None) -> None:
        check_alpha(alpha)
        if levels is not None and not 0 < levels[0] < levels[1] < 1:
            raise ValueError(f"levels must be two ascending numbers in (0, 1), got {levels}")
        self.alpha = alpha
        self.levels = levels

    def fit(self: E, y: Float[Tensor, " N"], *, lower: Float[Tensor, "T N"], upper: Float[Tensor, "T N"]) -> E:
        """Learn the losses of all checkpoints; an earlier fit is forgotten.

        Args:
            y: (N,) outcomes of samples that trained nothing, apart from the choice of a checkpoint.
            lower: (T, N) each checkpoint's lower quantile.
            upper: (T, N) its upper quantile.

        Returns:
            Itself. With too few samples a warning says that every set will be the whole line.

        Raises:
            ValueError: if shapes differ or a value is not finite.
            TypeError: if a dtype is not floating point.
        """
        outcome = read_outcomes(y)
        low = read_checkpoints("lower", lower, samples=len(y))
        high = read_checkpoints("upper", upper, samples=len(y), checkpoints=len(low))
        warned_rank(len(y), self.alpha)
        with self._learning():
            taus = self._taus()
            self.losses_ = torch.stack(
                [_pinball(outcome - q, tau).sum(dim=1) for q, tau in zip((low, high), taus, strict=True)]
            )
            self.lower_, self.upper_, self.y_ = low, high, outcome
        return self

    def chosen(
        self, y: Float[Tensor, " M"], *, lower: Float[Tensor, "T M"], upper: Float[Tensor, "T M"]
    ) -> Int64[Tensor, "M 2"]:
        """Return the two checkpoints that each outcome is judged by.

        Args:
            y: (M,) outcomes.
            lower: (T, M) each checkpoint's lower quantile.
            upper: (T, M) its upper quantile.

        Returns:
            (M, 2) numbers of checkpoints, the first of those that tie.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if shapes differ or a value is not finite.
        """
        quantiles, outcome = self._read(lower, upper, len(y)), read_outcomes(y)
        found = [
            (loss[:, None] + _pinball(outcome - q, tau)).argmin(dim=0)
            for q, loss, tau in zip(quantiles, self.losses_, self._taus(), strict=True)
        ]
        return torch.stack(found, dim=1)

    def p_values(
        self, y: Float[Tensor, " M"], *, lower: Float[Tensor, "T M"], upper: Float[Tensor, "T M"]
    ) -> Float[Tensor, " M"]:
        """Return how well outcomes conform; the sets hold those with a p-value above ``alpha``.

        Args:
            y: (M,) outcomes.
            lower: (T, M) each checkpoint's lower quantile.
            upper: (T, M) its upper quantile.

        Returns:
            (M,) p-values in (0, 1], float64.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if shapes differ or a value is not finite.
        """
        pairs = self.chosen(y, lower=lower, upper=upper)
        outcome = y.detach().double()
        low, high = (q.gather(0, pairs[None, :, i])[0] for i, q in enumerate(self._read(lower, upper, len(y))))
        scores = torch.maximum(low - outcome, outcome - high)
        reached = [
            (block >= own[:, None]).sum(dim=1)
            for (block, own) in zip(self._calibration_scores(pairs), torch.split(scores, self._rows()), strict=True)
        ]
        return (1 + torch.cat(reached)).double() / (len(self.y_) + 1)

    def predict_union(self, *, lower: Float[Tensor, "T M"], upper: Float[Tensor, "T M"]) -> list[Float[Tensor, "K 2"]]:
        """Return the prediction set of each sample.

        Args:
            lower: (T, M) each checkpoint's lower quantile.
            upper: (T, M) its upper quantile.

        Returns:
            For each sample a (K, 2) tensor of disjoint intervals in ascending order, ends included, in the unit of the
            outcome. K may be 0: no outcome conforms.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if shapes differ or a value is not finite.
        """
        return unions(*self._pieces(*self._read(lower, upper, None)))

    def predict_interval(self, *, lower: Float[Tensor, "T M"], upper: Float[Tensor, "T M"]) -> Float[Tensor, "M 2"]:
        """Return the shortest interval that holds the prediction set; where that is empty, the best checkpoints'.

        Args:
            lower: (T, M) each checkpoint's lower quantile.
            upper: (T, M) its upper quantile.

        Returns:
            (M, 2) lower and upper ends, both included, in the unit of the outcome. Where the lower end is above the
            upper one, no outcome conforms to the best checkpoints either.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if shapes differ or a value is not finite.
        """
        low, high = self._read(lower, upper, None)
        best = self.losses_.argmin(dim=1)
        limit = self._limits(best[None])[0]
        plain = torch.stack([low[best[0]] - limit, high[best[1]] + limit], dim=1)
        found = hull(*self._pieces(low, high))
        return torch.where(found[:, :1] <= found[:, 1:], found, plain)

    def _pieces(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        envelopes = [
            pinball_envelope(q, loss[:, None], tau)
            for q, loss, tau in zip((low, high), self.losses_, self._taus(), strict=True)
        ]
        start = torch.cat([envelope.start for envelope in envelopes], dim=1).sort(dim=1).values
        end = torch.cat([start[:, 1:], torch.full_like(start[:, :1], torch.inf)], dim=1)
        first, second = (
            envelope.member.gather(
                1, (torch.searchsorted(envelope.start, start, right=True) - 1).minimum(envelope.pieces[:, None] - 1)
            )
            for envelope in envelopes
        )
        pairs, place = torch.unique(torch.stack([first, second], dim=2).flatten(0, 1), dim=0, return_inverse=True)
        limit = self._limits(pairs)[place].reshape(first.shape)
        lower = torch.maximum(start, low.T.gather(1, first) - limit)
        upper = torch.minimum(end, high.T.gather(1, second) + limit)
        return lower, torch.where(start < end, upper, -torch.inf)  # breakpoints of both may coincide

    def _limits(self, pairs: Tensor) -> Tensor:
        """Return the conformal quantile of each of (P, 2) pairs of checkpoints."""
        rank = conformal_rank(len(self.y_), self.alpha)
        return torch.cat([order_statistic(block.T, rank) for block in self._calibration_scores(pairs)])

    def _calibration_scores(self, pairs: Tensor) -> Iterator[Tensor]:
        for block in torch.split(pairs, self._rows()):
            yield torch.maximum(self.lower_[block[:, 0]] - self.y_, self.y_ - self.upper_[block[:, 1]])

    def _rows(self) -> int:
        return max(1, _BLOCK // len(self.y_))

    def _taus(self) -> tuple[float, float]:
        return (self.alpha / 2, 1 - self.alpha / 2) if self.levels is None else self.levels

    def _read(self, lower: Tensor, upper: Tensor, samples: int | None) -> tuple[Tensor, Tensor]:
        self._check_fitted()
        number = self.losses_.shape[1]
        low = read_checkpoints("lower", lower, checkpoints=number, samples=samples)
        return low, read_checkpoints("upper", upper, checkpoints=number, samples=low.shape[1])


def _pinball(error: Tensor, tau: float) -> Tensor:
    return torch.maximum(tau * error, (tau - 1) * error)
