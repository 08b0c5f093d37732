"""Conformalised early stopping for regression, by Liang, Zhou and Sesia (2023)."""

from typing import TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.conformal._checkpoint_values import LIANG, hull, read_checkpoints, read_outcomes, unions, warned_rank
from trueline.conformal._conformal_quantile import check_alpha
from trueline.conformal._lower_envelope import parabola_envelope
from trueline.conformal._p_values import conformal_p_values
from trueline.contracts import Fittable, method
from trueline.numerics import order_statistic

E = TypeVar("E", bound="ConformalEarlyStoppingRegression")


@method(
    LIANG,
    cost="predictions of T checkpoints on N calibration samples and on what is to be predicted; O(N·T) to fit and "
    "O(T log T) a prediction, for the lower envelope of T parabolas",
)
class ConformalEarlyStoppingRegression(Fittable):
    """Intervals that stay valid when the same samples choose the checkpoint and calibrate it.

    To stop at the checkpoint with the smallest squared error on the calibration samples and then calibrate it on them
    covers too seldom. Here an outcome y is judged by the checkpoint that would be chosen if the new sample were among
    the calibration samples, ``t(y) = argmin_t L_t + (y - μ_t(x))²`` with L_t their sum of squared errors: a choice that
    does not tell the new sample from the others. y is in the set if ``|y - μ_t(y)(x)| <= Q_t(y)``, Q_t being the
    conformal quantile of the absolute errors of checkpoint t. With distinct errors the set holds the outcome with
    probability ``⌈(n + 1)(1 - alpha)⌉/(n + 1)`` exactly. It is a union of intervals, since each checkpoint is the
    chosen one on an interval of outcomes: a piece of the lower envelope of T parabolas.

    Args:
        alpha: wanted rate of misses, in (0, 1).

    Attributes:
        losses_: (T,) sum of squared errors of each checkpoint on the calibration samples.
        errors_: (T, N) their absolute errors in ascending order, in the unit of the outcome.
        limits_: (T,) the conformal quantile of each checkpoint.
        best_: the checkpoint with the smallest loss, of ties the first; what early stopping would keep.

    Example:
        >>> y, mean = torch.zeros(9), torch.stack([torch.arange(1.0, 10.0), torch.full((9,), 20.0)])
        >>> stopped = ConformalEarlyStoppingRegression(0.2).fit(y, mean=mean)
        >>> stopped.predict_interval(mean=torch.tensor([[0.0], [1.0]])).tolist()  # ⌈10 · 0.8⌉ = 8
        [[-8.0, 8.0]]
    """

    losses_: Float[Tensor, " T"]
    errors_: Float[Tensor, "T N"]
    limits_: Float[Tensor, " T"]
    best_: int

    def __init__(self, alpha: float) -> None:
        check_alpha(alpha)
        self.alpha = alpha

    def fit(self: E, y: Float[Tensor, " N"], *, mean: Float[Tensor, "T N"]) -> E:
        """Learn losses and limits of all checkpoints; an earlier fit is forgotten.

        Args:
            y: (N,) outcomes of samples that trained nothing, apart from the choice of a checkpoint.
            mean: (T, N) the predictions of each checkpoint.

        Returns:
            Itself. Too few samples make the limits infinite, and a warning says so.

        Raises:
            ValueError: if shapes differ or a value is not finite.
            TypeError: if a dtype is not floating point.
        """
        outcome = read_outcomes(y)
        errors = (outcome - read_checkpoints("mean", mean, samples=len(y))).abs()
        with self._learning():
            self.losses_ = errors.square().sum(dim=1)
            self.errors_ = errors.sort(dim=1).values
            self.limits_ = order_statistic(self.errors_.T, warned_rank(len(y), self.alpha))
            self.best_ = int(self.losses_.argmin())
        return self

    def chosen(self, y: Float[Tensor, " M"], *, mean: Float[Tensor, "T M"]) -> Int64[Tensor, " M"]:
        """Return the checkpoint that each outcome is judged by.

        Args:
            y: (M,) outcomes.
            mean: (T, M) the predictions of each checkpoint.

        Returns:
            (M,) numbers of checkpoints, the first of those that tie.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if shapes differ or a value is not finite.
        """
        values = self._read(mean, len(y))
        return (self.losses_[:, None] + (read_outcomes(y) - values).square()).argmin(dim=0)

    def p_values(self, y: Float[Tensor, " M"], *, mean: Float[Tensor, "T M"]) -> Float[Tensor, " M"]:
        """Return how well outcomes conform; the sets hold those with a p-value above ``alpha``.

        Args:
            y: (M,) outcomes.
            mean: (T, M) the predictions of each checkpoint.

        Returns:
            (M,) p-values in (0, 1], float64.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if shapes differ or a value is not finite.
        """
        chosen = self.chosen(y, mean=mean)
        errors = (y.detach().double() - mean.detach().double().gather(0, chosen[None])[0]).abs()
        found = torch.empty_like(errors)
        for checkpoint in torch.unique(chosen).tolist():
            own = chosen == checkpoint
            found[own] = conformal_p_values(self.errors_[checkpoint], errors[own])
        return found

    def predict_union(self, *, mean: Float[Tensor, "T M"]) -> list[Float[Tensor, "K 2"]]:
        """Return the prediction set of each sample.

        Args:
            mean: (T, M) the predictions of each checkpoint.

        Returns:
            For each sample a (K, 2) tensor of disjoint intervals in ascending order, ends included, in the unit of the
            outcome. K is at least 1: the prediction of the best checkpoint is always in the set.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if shapes differ or a value is not finite.
        """
        return unions(*self._pieces(self._read(mean, None)))

    def predict_interval(self, *, mean: Float[Tensor, "T M"]) -> Float[Tensor, "M 2"]:
        """Return the shortest interval that holds the prediction set.

        Args:
            mean: (T, M) the predictions of each checkpoint.

        Returns:
            (M, 2) lower and upper ends, both included, in the unit of the outcome.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if shapes differ or a value is not finite.
        """
        return hull(*self._pieces(self._read(mean, None)))

    def _pieces(self, values: Tensor) -> tuple[Tensor, Tensor]:
        pieces = parabola_envelope(values, self.losses_[:, None])
        centre, limit = values.T.gather(1, pieces.member), self.limits_[pieces.member]
        lower, upper = torch.maximum(pieces.start, centre - limit), torch.minimum(pieces.end, centre + limit)
        return lower, torch.where(pieces.start < pieces.end, upper, -torch.inf)

    def _read(self, mean: Tensor, samples: int | None) -> Tensor:
        self._check_fitted()
        return read_checkpoints("mean", mean, checkpoints=len(self.losses_), samples=samples)
