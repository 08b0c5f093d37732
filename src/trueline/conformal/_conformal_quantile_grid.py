"""Predicted quantiles made valid level by level, as Dheur and Ben Taieb (2023) do."""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Fittable, Reference, method
from trueline.numerics import conformal_rank, order_statistic


@method(
    Reference(
        authors="Victor Dheur, Souhaib Ben Taieb",
        title="A Large-Scale Study of Probabilistic Calibration in Neural Network Regression",
        venue="ICML",
        year=2023,
        arxiv="2306.02738",
    ),
    cost="one sort of the calibration errors a level; one addition and one sort of the levels per prediction",
)
class ConformalQuantileGrid(Fittable):
    """Shifts each predicted quantile by its own amount, then sorts the levels of a sample.

    The quantile at level t moves by the k-th smallest error ``y - q_t``, ``k = ⌈(n + 1)·t⌉``, so that a new outcome is
    at or below it with a probability of at least t, and of less than ``t + 1/(n + 1)`` where errors are distinct. Where
    k exceeds n the quantile is infinite: the study takes the largest error there, which promises too much. Sorting
    undoes crossings; the guarantee of one level is that of the shifted quantile before it.

    Args:
        levels: the L levels of the predicted quantiles, ascending, in (0, 1).

    Attributes:
        shift_: (L,) what is added at each level, in the unit of the outcome.

    Example:
        >>> grid = ConformalQuantileGrid((0.25, 0.5)).fit(torch.arange(7.0), torch.zeros(7, 2))
        >>> grid.predict_quantiles(torch.tensor([[10.0, 10.0]])).tolist()
        [[11.0, 13.0]]
    """

    shift_: Float[Tensor, " L"]

    def __init__(self, levels: tuple[float, ...]) -> None:
        self.levels = levels

    def fit(self, y: Float[Tensor, " N"], quantiles: Float[Tensor, "N L"]) -> "ConformalQuantileGrid":
        """Learn the shifts from held-out outcomes and predicted quantiles.

        Args:
            y: (N,) outcomes. Use samples that neither trained the model nor chose it.
            quantiles: (N, L) predicted quantiles, one column a level.

        Returns:
            Itself; a warning names the levels that stay infinite because the samples are too few.

        Raises:
            ValueError: if levels are not ascending in (0, 1), a shape does not fit or a value is not finite.
        """
        levels = list(self.levels)
        if not levels or sorted(set(levels)) != levels or not 0 < levels[0] <= levels[-1] < 1:
            raise ValueError(f"levels must be ascending numbers in (0, 1), got {self.levels}")
        self._check_quantiles(quantiles)
        if y.shape != quantiles.shape[:1]:
            raise ValueError(f"y must have shape ({len(quantiles)},) to match the quantiles, got {tuple(y.shape)}")
        if not y.isfinite().all():
            raise ValueError("y must be finite; remove the samples that are not")
        with self._learning():
            errors = y.detach().double()[:, None] - quantiles.detach().double()
            ranks = [conformal_rank(len(y), 1 - level) for level in levels]
            self.shift_ = torch.stack([order_statistic(errors[:, i], rank) for i, rank in enumerate(ranks)])
            if short := [level for level, rank in zip(levels, ranks, strict=True) if rank > len(y)]:
                warnings.warn(
                    f"{len(y)} calibration samples are too few for the levels {short}: these quantiles are infinite",
                    stacklevel=2,
                )
        return self

    def predict_quantiles(self, quantiles: Float[Tensor, "N L"]) -> Float[Tensor, "N L"]:
        """Return the valid quantiles, ascending in each row.

        Args:
            quantiles: (N, L) predicted quantiles, one column a level.

        Returns:
            (N, L) quantiles in the unit of the outcome, float64.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if a shape does not fit or a value is not finite.
        """
        self._check_fitted()
        self._check_quantiles(quantiles)
        return (quantiles.detach().double() + self.shift_).sort(dim=1).values

    def _check_quantiles(self, quantiles: Tensor) -> None:
        if quantiles.ndim != 2 or quantiles.shape[1] != len(self.levels) or len(quantiles) == 0:
            raise ValueError(
                f"quantiles must have shape (N, {len(self.levels)}), one column a level, got {tuple(quantiles.shape)}"
            )
        if not quantiles.isfinite().all():
            raise ValueError("quantiles must be finite; remove the samples that are not")
