"""Quantile recalibration by straight lines between order statistics, as in Dheur and Ben Taieb (2023)."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import method
from trueline.regression._calibration_error import STUDY
from trueline.regression._empirical_recalibration import KULESHOV
from trueline.regression._predictive import check_levels
from trueline.regression._recalibration import Recalibration


@method(STUDY, KULESHOV, cost="one sort of the held-out PITs; a search per value")
class LinearRecalibration(Recalibration):
    """Connects (0, 0), the points ``(Z_(i), i/(n + 1))`` of the held-out PITs and (1, 1) by straight lines.

    PITs that tie share one point, at the mean of their ranks. PITs of exactly 0 or 1 make no point: a φ that jumps
    there would move mass to the ends of the support. The density is the slope, at a point that of the line above;
    it is spiky, since neighbouring PITs may be close.

    Attributes:
        pit_: (K,) where the lines meet, ascending from 0 to 1.
        share_: (K,) φ there, ascending from 0 to 1.

    Example:
        >>> lines = LinearRecalibration().fit(torch.tensor([0.5, 0.25, 0.75]))
        >>> lines.cdf(torch.tensor([0.125, 0.875])).tolist()
        [0.125, 0.875]
    """

    pit_: Float[Tensor, " K"]
    share_: Float[Tensor, " K"]

    def _fit(self, pit: Float[Tensor, " N"], generator: torch.Generator | None) -> None:
        ranks = torch.arange(1, len(pit) + 1, dtype=torch.float64, device=pit.device) / (len(pit) + 1)
        inside = (pit > 0) & (pit < 1)
        points, group, count = torch.unique_consecutive(pit[inside], return_inverse=True, return_counts=True)
        shares = torch.zeros_like(points).index_add_(0, group, ranks[inside]) / count
        ends = pit.new_tensor([0, 1])
        self.pit_ = torch.cat([ends[:1], points, ends[1:]])
        self.share_ = torch.cat([ends[:1], shares, ends[1:]])

    def cdf(self, pit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return φ on the lines."""
        self._check_fitted()
        return _interpolate(pit.double(), self.pit_, self.share_)

    def quantile(self, levels: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
        """Return the inverse of φ on the lines."""
        self._check_fitted()
        check_levels(levels)
        return _interpolate(levels.double(), self.share_, self.pit_)

    def log_density(self, pit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the log of the slope."""
        self._check_fitted()
        above = _above(pit.double(), self.pit_)
        return (self.share_.diff().log() - self.pit_.diff().log())[above - 1]


def _above(at: Tensor, points: Tensor) -> Tensor:
    return torch.searchsorted(points, at.detach().contiguous(), right=True).clamp(1, len(points) - 1)


def _interpolate(at: Tensor, points: Tensor, values: Tensor) -> Tensor:
    above = _above(at, points)
    slope = values.diff() / points.diff()
    return values[above - 1] + (at - points[above - 1]) * slope[above - 1]
