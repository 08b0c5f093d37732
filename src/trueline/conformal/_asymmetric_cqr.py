"""Conformalised quantile regression with one guarantee for each end, by Romano, Patterson and Candès (2019)."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.conformal._cqr import PAPER
from trueline.conformal._score_regressor import ScoreRegressor
from trueline.contracts import method


@method(PAPER, cost="two sorts of the calibration scores; two additions per prediction")
class AsymmetricCQR(ScoreRegressor):
    """Moves each end of a predicted interval by its own amount: ``[lower - q_1, upper + q_2]``.

    q_1 is the k-th smallest ``lower - y`` and q_2 the k-th smallest ``y - upper``, ``k = ⌈(n + 1)(1 - alpha/2)⌉``. So
    each end alone is missed with a probability of at most alpha/2, which the one q of :class:`CQR` does not say; the
    price is usually some width, and twice as many samples before an interval is finite.

    Args:
        alpha: probability that an interval misses its outcome, in (0, 1); half of it at each end.

    Example:
        >>> import torch
        >>> y = torch.arange(19.0)
        >>> intervals = AsymmetricCQR(0.1).fit(y, lower=y - 1, upper=torch.full((19,), 16.0))
        >>> intervals.predict_interval(lower=torch.tensor([0.0]), upper=torch.tensor([10.0])).tolist()
        [[1.0, 12.0]]
    """

    needs: ClassVar[tuple[str, ...]] = ("lower", "upper")
    num_thresholds: ClassVar[int] = 2

    def _scores(self, y: Float[Tensor, " N"], *predictions: Float[Tensor, " N"]) -> Float[Tensor, "N 2"]:
        lower, upper = predictions
        return torch.stack([lower - y, y - upper], dim=1)

    def _bounds(self, *predictions: Float[Tensor, " N"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        lower, upper = predictions
        return lower - self.threshold_[0], upper + self.threshold_[1]
