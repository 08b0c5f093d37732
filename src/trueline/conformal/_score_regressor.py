"""What intervals that come from a conformity score share: its sorted calibration values, thresholds and p-values."""

import warnings
from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import ConformalRegressor
from trueline.numerics import conformal_rank, order_statistic


class ScoreRegressor(ConformalRegressor):
    """Intervals of all outcomes whose scores are at most their thresholds.

    With s scores each has the threshold ``S_(k)``, ``k = ⌈(n + 1)(1 - alpha/s)⌉``, and the p-value
    ``(1 + #{S_i >= S}) / (n + 1)``; the outcome's own is s times the smallest of these, at most 1.
    """

    scores_: Float[Tensor, "N S"]
    """The scores of the calibration samples, each column ascending."""

    threshold_: Float[Tensor, " S"]
    """What a score may be at most, in its own unit; infinity where the samples are too few."""

    @abstractmethod
    def _scores(self, y: Float[Tensor, " N"], *predictions: Float[Tensor, " N"]) -> Float[Tensor, "N S"]:
        """Return how far each outcome is from its prediction; larger is worse."""

    def _fit(self, y: Float[Tensor, " N"], *predictions: Float[Tensor, " N"]) -> None:
        scores = self._scores(y, *predictions).sort(dim=0).values
        rank = conformal_rank(len(scores), self.alpha / self.num_thresholds)
        self.scores_, self.threshold_ = scores, order_statistic(scores, rank)
        if rank > len(scores):
            warnings.warn(
                f"{len(scores)} calibration samples are too few for alpha = {self.alpha}: every interval is infinite. "
                f"Use at least {_fewest(self.alpha / self.num_thresholds)} samples or a larger alpha",
                stacklevel=3,
            )

    def _p_values(self, y: Float[Tensor, " N"], *predictions: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        n = len(self.scores_)
        scores = self._scores(y, *predictions).T.contiguous()
        below = torch.searchsorted(self.scores_.T.contiguous(), scores)
        return (self.num_thresholds * ((1 + n - below).double() / (n + 1)).amin(dim=0)).clamp_max(1)


def _fewest(alpha: float) -> int:
    n = max(1, round(1 / alpha) - 2)
    while conformal_rank(n, alpha) > n:
        n += 1
    return n
