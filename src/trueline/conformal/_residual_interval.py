"""Split conformal intervals of one width, by Papadopoulos, Proedrou, Vovk and Gammerman (2002)."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from trueline.conformal._score_regressor import ScoreRegressor
from trueline.contracts import Reference, method


@method(
    Reference(
        authors="Harris Papadopoulos, Kostas Proedrou, Volodya Vovk, Alex Gammerman",
        title="Inductive Confidence Machines for Regression",
        venue="ECML",
        year=2002,
    ),
    Reference(
        authors="Jing Lei, Max G'Sell, Alessandro Rinaldo, Ryan J. Tibshirani, Larry Wasserman",
        title="Distribution-Free Predictive Inference for Regression",
        venue="Journal of the American Statistical Association",
        year=2018,
        arxiv="1604.04173",
    ),
    cost="one sort of the calibration residuals; one addition per prediction",
)
class SplitResidual(ScoreRegressor):
    """Puts the same margin on both sides of every prediction: ``mean ± q`` with q from the scores ``|y - mean|``.

    q is the k-th smallest absolute residual of the n calibration samples, ``k = ⌈(n + 1)(1 - alpha)⌉``. All intervals
    have one width: they are too wide for easy samples and too narrow for hard ones.

    Args:
        alpha: probability that an interval misses its outcome, in (0, 1).

    Example:
        >>> import torch
        >>> y, mean = torch.arange(9.0), torch.zeros(9)
        >>> SplitResidual(0.1).fit(y, mean=mean).predict_interval(mean=torch.tensor([100.0])).tolist()
        [[92.0, 108.0]]
    """

    needs: ClassVar[tuple[str, ...]] = ("mean",)

    def _scores(self, y: Float[Tensor, " N"], *predictions: Float[Tensor, " N"]) -> Float[Tensor, "N 1"]:
        (mean,) = predictions
        return (y - mean).abs()[:, None]

    def _bounds(self, *predictions: Float[Tensor, " N"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        (mean,) = predictions
        return mean - self.threshold_, mean + self.threshold_
