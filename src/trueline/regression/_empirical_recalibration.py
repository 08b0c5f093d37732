"""Quantile recalibration by order statistics, by Kuleshov, Fenner and Ermon (2018)."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.numerics import conformal_rank
from trueline.regression._calibration_error import STUDY
from trueline.regression._predictive import check_levels
from trueline.regression._recalibration import Recalibration

KULESHOV = Reference(
    authors="Volodymyr Kuleshov, Nathan Fenner, Stefano Ermon",
    title="Accurate Uncertainties for Deep Learning Using Calibrated Regression",
    venue="ICML",
    year=2018,
    arxiv="1807.00263",
)


@method(KULESHOV, STUDY, cost="one sort of the held-out PITs; a search per value")
class EmpiricalRecalibration(Recalibration):
    """Replaces a level t by the ``⌈(n + 1)·t⌉``-th smallest held-out PIT, as split conformal prediction does.

    A new outcome is at or below the corrected quantile with a probability of at least t, and of less than
    ``t + 1/(n + 1)`` where PITs are distinct, whatever the model is worth. Beyond the n-th order statistic the quantile
    is the end of the support, usually infinity. φ climbs by 1/(n + 1) at each PIT, so there is no density, and the
    remaining 1/(n + 1) lies at 1. Held-out PITs of exactly 0 or 1 put mass at the ends of the support: if these are
    infinite, so is the score, and the mean is infinite or does not exist.

    Attributes:
        pit_: (n,) the held-out PITs, ascending.

    Example:
        >>> steps = EmpiricalRecalibration().fit(torch.tensor([0.5, 0.25, 0.75]))
        >>> steps.quantile(torch.tensor([0.25, 0.6, 0.9])).tolist(), steps.cdf(torch.tensor([0.5])).tolist()
        ([0.25, 0.75, 1.0], [0.5])
    """

    has_density: ClassVar[bool] = False
    pit_: Float[Tensor, " n"]

    @property
    def num_levels(self) -> int:
        """At how many levels the score and the mean of a corrected distribution are summed: all of them finite."""
        return min(super().num_levels, (len(self.pit_) + 1) // 2)

    def _fit(self, pit: Float[Tensor, " N"], generator: torch.Generator | None) -> None:
        self.pit_ = pit

    def cdf(self, pit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the number of held-out PITs of at most these, over n + 1; 1 at 1."""
        return self._share(pit, right=True).where(pit < 1, 1)

    def cdf_below(self, pit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the number of held-out PITs below these, over n + 1."""
        return self._share(pit, right=False)

    def quantile(self, levels: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
        """Return the order statistics at levels in [0, 1]; 0 at 0 and 1 beyond the last."""
        self._check_fitted()
        check_levels(levels)
        n = len(self.pit_)
        ranks = [conformal_rank(n, 1 - t) if 0 < t < 1 else round(t) * (n + 1) for t in levels.tolist()]
        ends = self.pit_.new_tensor([0, 1])
        return torch.cat([ends[:1], self.pit_, ends[1:]])[ranks]

    def log_density(self, pit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Refuse: steps have no density.

        Raises:
            ValueError: always.
        """
        raise ValueError("EmpiricalRecalibration is made of steps and has no density; use LinearRecalibration")

    def _share(self, pit: Tensor, *, right: bool) -> Tensor:
        self._check_fitted()
        count = torch.searchsorted(self.pit_, pit.double().contiguous(), right=right)
        return count.double() / (len(self.pit_) + 1)
