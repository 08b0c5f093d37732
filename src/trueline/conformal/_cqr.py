"""Conformalised quantile regression, by Romano, Patterson and Candès (2019)."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.conformal._score_regressor import ScoreRegressor
from trueline.contracts import Reference, method

PAPER = Reference(
    authors="Yaniv Romano, Evan Patterson, Emmanuel J. Candès",
    title="Conformalized Quantile Regression",
    venue="NeurIPS",
    year=2019,
    arxiv="1905.03222",
)


@method(PAPER, cost="one sort of the calibration scores; two additions per prediction")
class CQR(ScoreRegressor):
    """Moves both ends of a predicted interval outwards, or inwards, by one amount: ``[lower - q, upper + q]``.

    q is the k-th smallest of the scores ``max(lower - y, y - upper)``, ``k = ⌈(n + 1)(1 - alpha)⌉``. The ends are
    usually predicted quantiles at alpha/2 and 1 - alpha/2, but any pair is valid. A negative q says that the
    predicted intervals were too wide; it can then empty those narrower than ``-2q``.

    Args:
        alpha: probability that an interval misses its outcome, in (0, 1).

    Example:
        >>> import torch
        >>> y = torch.arange(9.0)
        >>> intervals = CQR(0.1).fit(y, lower=y - 1, upper=torch.full((9,), 6.0))
        >>> intervals.predict_interval(lower=torch.tensor([0.0]), upper=torch.tensor([10.0])).tolist()
        [[-2.0, 12.0]]
    """

    needs: ClassVar[tuple[str, ...]] = ("lower", "upper")

    def _scores(self, y: Float[Tensor, " N"], *predictions: Float[Tensor, " N"]) -> Float[Tensor, "N 1"]:
        lower, upper = predictions
        return torch.maximum(lower - y, y - upper)[:, None]

    def _bounds(self, *predictions: Float[Tensor, " N"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        lower, upper = predictions
        return lower - self.threshold_, upper + self.threshold_
