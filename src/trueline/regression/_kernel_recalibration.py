"""Quantile recalibration by a mixture of logistic kernels, as in Dheur and Ben Taieb (2023)."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from trueline.contracts import default_generator, method
from trueline.regression._calibration_error import STUDY
from trueline.regression._invert import invert_increasing
from trueline.regression._predictive import check_levels
from trueline.regression._recalibration import Recalibration

_BLOCK = 1 << 20  # kernels evaluated at once


@method(STUDY, cost="three kernels per held-out PIT, of which at most 2,048 are kept, and value")
class KernelRecalibration(Recalibration):
    """Smooths the distribution of held-out PITs by logistic kernels ``σ(s(z - Z_i))``, reflected at 0 and at 1.

    The images ``-Z_i`` and ``2 - Z_i`` keep the mass inside [0, 1]; what reaches beyond them is divided out, so that
    ``φ(0) = 0`` and ``φ(1) = 1`` for any s. φ is smooth and its density finite everywhere, at the price of a bias: a
    kernel has a width of about 4/s.

    Args:
        sharpness: s, positive.
        points: how many PITs are kept at most; with more a random choice of them.

    Attributes:
        pit_: (n,) the PITs that are kept, ascending.

    Example:
        >>> smooth = KernelRecalibration().fit(torch.linspace(0, 1, 200))
        >>> smooth.cdf(torch.tensor([0.0, 0.5, 1.0])).round(decimals=3).tolist()
        [0.0, 0.5, 1.0]
    """

    pit_: Float[Tensor, " n"]

    def __init__(self, *, sharpness: float = 100.0, points: int = 2048) -> None:
        self.sharpness = sharpness
        self.points = points

    def _fit(self, pit: Float[Tensor, " N"], generator: torch.Generator | None) -> None:
        if not self.sharpness > 0 or self.points < 1:
            raise ValueError(
                f"sharpness must be positive and points at least 1, got {self.sharpness} and {self.points}"
            )
        if len(pit) > self.points:
            chosen = torch.randperm(len(pit), generator=default_generator(generator))[: self.points]
            pit = pit[chosen.sort().values.to(pit.device)]
        self.pit_ = pit

    def cdf(self, pit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return φ."""
        self._check_fitted()
        low, high = self._sums(self.pit_.new_tensor([0.0, 1.0]), torch.sigmoid)
        share: Tensor = (self._sums(pit.double(), torch.sigmoid) - low) / (high - low)
        return share.clamp(0, 1)

    def quantile(self, levels: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
        """Return the inverse of φ, without a gradient."""
        self._check_fitted()
        check_levels(levels)

        def function(at: Tensor) -> tuple[Tensor, Tensor]:
            return self.cdf(at), self.log_density(at).exp()

        target = levels.double()
        low = torch.where(target == 1, 1.0, 0.0).double()
        return invert_increasing(function, target, low, torch.where(target == 0, 0.0, 1.0).double())

    def log_density(self, pit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the log density of the kernels."""
        self._check_fitted()
        low, high = self._sums(self.pit_.new_tensor([0.0, 1.0]), torch.sigmoid)
        peaks = self._sums(pit.double(), lambda x: (logsigmoid(x) + logsigmoid(-x)).exp())
        density: Tensor = self.sharpness * peaks / (high - low)
        return density.clamp_min(torch.finfo(torch.float64).tiny).log()

    def _sums(self, at: Tensor, kernel: Callable[[Tensor], Tensor]) -> Tensor:
        images = torch.cat([self.pit_, -self.pit_, 2 - self.pit_])
        rows, size = at.reshape(-1), max(1, _BLOCK // len(images))
        parts = [rows[start : start + size, None] for start in range(0, max(1, len(rows)), size)]
        sums = [kernel(self.sharpness * (part - images)).sum(dim=1) for part in parts]
        return torch.cat(sums).reshape(at.shape)
