"""Normal predictive distributions, with the score of Gneiting and Raftery (2007) in closed form."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.regression._predictive import Predictive, against, check_levels, check_outcomes, check_parameters

_ROOT_PI = math.sqrt(math.pi)
_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


@method(
    Reference(
        authors="Tilmann Gneiting, Adrian E. Raftery",
        title="Strictly Proper Scoring Rules, Prediction, and Estimation",
        venue="Journal of the American Statistical Association",
        year=2007,
        doi="10.1198/016214506000001437",
    ),
    cost="a few operations per sample",
)
@dataclass(frozen=True, eq=False)
class Gaussian(Predictive):
    """A normal distribution for each sample.

    With ``ω = (y - location)/scale`` its score is ``scale·[ω(2Φ(ω) - 1) + 2φ(ω) - 1/√π]``.

    Args:
        location: (N,) means, in the unit of the outcome.
        scale: (N,) standard deviations, positive.

    Raises:
        ValueError: if shapes differ, a value is not finite or a scale is not positive.

    Example:
        >>> standard = Gaussian(torch.zeros(1), torch.ones(1))
        >>> round(standard.crps(torch.zeros(1)).item(), 4)
        0.2337
    """

    location: Float[Tensor, " N"]
    scale: Float[Tensor, " N"]

    def __post_init__(self) -> None:
        check_parameters(location=self.location, scale=self.scale)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.location)

    def cdf(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return ``Φ(ω)``; see :meth:`Predictive.cdf`."""
        probability: Tensor = torch.special.ndtr(self._standardised(y))
        return probability

    def quantile(self, levels: Float[Tensor, " L"]) -> Float[Tensor, "N L"]:
        """Return ``location + scale·Φ⁻¹(level)``; see :meth:`Predictive.quantile`."""
        check_levels(levels)
        values: Tensor = self.location[:, None] + self.scale[:, None] * torch.special.ndtri(levels)
        return values

    def log_density(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return ``-ω²/2 - ln scale - ln √(2π)``; see :meth:`Predictive.log_density`."""
        return -0.5 * self._standardised(y).square() - against(self.scale, y).log() - _LOG_ROOT_2PI

    def mean(self) -> Float[Tensor, " N"]:
        """Return the mean of each distribution, in the unit of the outcome."""
        return self.location

    def crps(self, y: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Return the score in closed form; see :meth:`Predictive.crps`."""
        return expected_distance(y - self.location, self.scale) - self.scale / _ROOT_PI

    def _standardised(self, y: Tensor) -> Tensor:
        check_outcomes(y, len(self))
        return (y - against(self.location, y)) / against(self.scale, y)


def expected_distance(mean: Float[Tensor, "*shape"], scale: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the mean absolute value of a normal variable, ``m(2Φ(m/s) - 1) + 2sφ(m/s)``.

    Args:
        mean: m.
        scale: s, positive.
    """
    ratio = mean / scale
    density = (-0.5 * ratio.square()).exp() / math.sqrt(2 * math.pi)
    distance: Tensor = mean * torch.special.erf(ratio / math.sqrt(2)) + 2 * scale * density
    return distance
