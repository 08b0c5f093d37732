"""Split conformal intervals that are wider where the model expects larger errors, by Papadopoulos et al. (2008)."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.conformal._score_regressor import ScoreRegressor
from trueline.contracts import Reference, method


@method(
    Reference(
        authors="Harris Papadopoulos, Alex Gammerman, Volodya Vovk",
        title="Normalized Nonconformity Measures for Regression Conformal Prediction",
        venue="IASTED International Conference on Artificial Intelligence and Applications",
        year=2008,
    ),
    Reference(
        authors="Jing Lei, Max G'Sell, Alessandro Rinaldo, Ryan J. Tibshirani, Larry Wasserman",
        title="Distribution-Free Predictive Inference for Regression",
        venue="Journal of the American Statistical Association",
        year=2018,
        arxiv="1604.04173",
    ),
    cost="one sort of the calibration residuals; a few operations per prediction",
)
class NormalisedResidual(ScoreRegressor):
    """Puts a margin in proportion to an expected error around every prediction: ``mean ± q·(scale + beta)``.

    q is the k-th smallest of the scores ``|y - mean| / (scale + beta)``, ``k = ⌈(n + 1)(1 - alpha)⌉``. The scale may
    be any estimate of the size of the error, such as a predicted standard deviation or the spread of an ensemble: its
    unit does not matter, and a poor one costs width, not coverage.

    Args:
        alpha: probability that an interval misses its outcome, in (0, 1).
        beta: added to every scale, in its unit, at least zero: it damps the differences between scales.

    Example:
        >>> import torch
        >>> y, mean, scale = torch.arange(9.0), torch.zeros(9), torch.full((9,), 4.0)
        >>> intervals = NormalisedResidual(0.1).fit(y, mean=mean, scale=scale)
        >>> intervals.predict_interval(mean=torch.zeros(2), scale=torch.tensor([1.0, 3.0])).tolist()
        [[-2.0, 2.0], [-6.0, 6.0]]
    """

    needs: ClassVar[tuple[str, ...]] = ("mean", "scale")

    def __init__(self, alpha: float, *, beta: float = 0.0) -> None:
        super().__init__(alpha)
        self.beta = beta

    def _scores(self, y: Float[Tensor, " N"], *predictions: Float[Tensor, " N"]) -> Float[Tensor, "N 1"]:
        mean, scale = predictions
        return ((y - mean).abs() / self._unit(scale))[:, None]

    def _bounds(self, *predictions: Float[Tensor, " N"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        mean, scale = predictions
        margin = self.threshold_ * self._unit(scale)
        return mean - margin, mean + margin

    def _unit(self, scale: Tensor) -> Tensor:
        if not self.beta >= 0:
            raise ValueError(f"beta must be at least zero, got {self.beta}")
        if not ((scale >= 0).all() and (unit := scale + self.beta).gt(0).all()):
            row = int(torch.where(scale >= 0, scale + self.beta, scale).argmin())
            raise ValueError(
                f"scale must be at least zero and scale + beta positive, but row {row} holds {scale[row].item():.6g} "
                f"and beta is {self.beta}; floor the scale or pass beta="
            )
        return unit
