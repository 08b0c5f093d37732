"""Conformalised selective regression, by Sokol, Moniz and Chawla (2024)."""

import math
from typing import TypeVar

from jaxtyping import Bool, Float
from torch import Tensor

from trueline.conformal._widths import widths
from trueline.contracts import ConformalRegressor, Fittable, Reference, method
from trueline.numerics import conformal_rank, order_statistic

PAPER = Reference(
    authors="Anna Sokol, Nuno Moniz, Nitesh Chawla",
    title="Conformalized Selective Regression",
    venue="arXiv",
    year=2024,
    arxiv="2402.16300",
)

S = TypeVar("S", bound="SelectiveRegression")


@method(PAPER, cost="one fit of the regressor and one sort of the calibration widths; one interval per prediction")
class SelectiveRegression(Fittable):
    """Accepts a prediction where its conformal interval is narrow: ``upper - lower <= limit``.

    The limit is the ``⌈(n + 1)·coverage⌉``-th smallest width of the n calibration samples, so that a new sample is
    accepted with a probability of at least ``coverage``; how the limit follows from it is not published, and this rule
    is ours. Where widths tie, in nine digits, all of them are accepted: with intervals of one width there is nothing to
    choose by.

    Two things are worth knowing. A threshold of CQR adds the same to every width, so samples are ranked by the raw
    width of the predicted quantiles, and conformalising changes which outcomes the intervals hold, not which samples
    are accepted. And the coverage of the intervals holds on average over all samples, not among the accepted ones:
    measure it there with :func:`selective_risk`.

    Args:
        regressor: an unfitted :class:`ConformalRegressor`, whose options are used.
        coverage: the wanted share of accepted samples, in (0, 1]; at 1 every sample is accepted.

    Raises:
        ValueError: if coverage lies outside (0, 1].

    Attributes:
        regressor_: the fitted regressor.
        limit_: the largest accepted width, in the unit of the outcome; infinity accepts all.

    Example:
        >>> import torch
        >>> from trueline.conformal import CQR
        >>> y = torch.zeros(9)
        >>> selective = SelectiveRegression(CQR(0.1), 0.5).fit(y, lower=-torch.arange(1, 10.0), upper=y)
        >>> selective.accept(lower=torch.tensor([-4.0, -6.0]), upper=torch.zeros(2)).tolist()
        [True, False]
    """

    regressor_: ConformalRegressor
    limit_: float

    def __init__(self, regressor: ConformalRegressor, coverage: float) -> None:
        if not 0 < coverage <= 1:
            raise ValueError(f"coverage must lie in (0, 1], got {coverage}; it is the share of accepted samples")
        self.regressor = regressor
        self.coverage = coverage

    def fit(self: S, y: Float[Tensor, " N"], **predictions: Float[Tensor, " N"]) -> S:
        """Fit the regressor and learn the limit from held-out outcomes and predictions.

        Args:
            y: (N,) outcomes. Use samples that neither trained the model nor chose it.
            **predictions: (N,) one tensor for each name in the regressor's ``needs``.

        Returns:
            Itself.

        Raises:
            ValueError: if the regressor refuses its input.
        """
        fitted = self.regressor.unfitted().fit(y, **predictions)
        calibrated = widths(fitted.predict_interval(**predictions))
        with self._learning():
            self.regressor_ = fitted
            rank = conformal_rank(len(calibrated), 1 - self.coverage) if self.coverage < 1 else len(calibrated) + 1
            self.limit_ = order_statistic(calibrated, rank).item() if rank <= len(calibrated) else math.inf
        return self

    def accept(self, **predictions: Float[Tensor, " N"]) -> Bool[Tensor, " N"]:
        """Return which samples are accepted.

        Args:
            **predictions: (N,) one tensor for each name in the regressor's ``needs``.

        Returns:
            (N,) truth values.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the predictions are not what is described above.
        """
        accepted: Tensor = widths(self.predict_interval(**predictions)) <= self.limit_
        return accepted

    def predict_interval(self, **predictions: Float[Tensor, " N"]) -> Float[Tensor, "N 2"]:
        """Return the interval of each sample, accepted or not; see :meth:`ConformalRegressor.predict_interval`.

        Args:
            **predictions: (N,) one tensor for each name in the regressor's ``needs``.

        Returns:
            (N, 2) lower and upper ends, in the unit of the outcome.

        Raises:
            RuntimeError: if the object is not fitted.
        """
        self._check_fitted()
        return self.regressor_.predict_interval(**predictions)
