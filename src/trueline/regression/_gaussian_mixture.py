"""Predictive mixtures of normal distributions, by Bishop (1994), with their exact score by Grimit et al. (2006)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.regression._gaussian import expected_distance
from trueline.regression._invert import invert_increasing
from trueline.regression._predictive import Predictive, check_levels, check_outcomes, check_parameters

_SUM_TOLERANCE = 1e-3


@method(
    Reference(
        authors="Christopher M. Bishop",
        title="Mixture Density Networks",
        venue="Aston University, technical report NCRG/94/004",
        year=1994,
    ),
    Reference(
        authors="E. P. Grimit, T. Gneiting, V. J. Berrocal, N. A. Johnson",
        title=(
            "The Continuous Ranked Probability Score for Circular Variables and its Application to Mesoscale Forecast "
            "Ensemble Verification"
        ),
        venue="Quarterly Journal of the Royal Meteorological Society",
        year=2006,
        doi="10.1256/qj.05.235",
    ),
    cost="K components: K operations per value, K² for the score, several cdfs for a quantile",
)
@dataclass(frozen=True, eq=False)
class GaussianMixture(Predictive):
    """A mixture of K normal distributions for each sample.

    With ``A(m, s²) = E|N(m, s²)|`` its score is
    ``Σ_i w_i A(y - μ_i, σ_i²) - ½ Σ_ij w_i w_j A(μ_i - μ_j, σ_i² + σ_j²)``. Quantiles are found by Newton steps that
    fall back on bisection, between the lowest and the highest quantile of the components; their gradient is that of
    the implicit function.

    Args:
        weight: (N, K) shares of the components, at least zero; each row sums to one.
        location: (N, K) their means, in the unit of the outcome.
        scale: (N, K) their standard deviations, positive.

    Raises:
        ValueError: if shapes differ, a value is not finite, a scale is not positive or weights are no shares.

    Example:
        >>> pair = GaussianMixture(torch.tensor([[0.5, 0.5]]), torch.tensor([[-1.0, 1.0]]), torch.ones(1, 2))
        >>> round(pair.quantile(torch.tensor([0.9])).item(), 3), round(pair.cdf(torch.zeros(1)).item(), 3)
        (1.849, 0.5)
    """

    weight: Float[Tensor, "N K"]
    location: Float[Tensor, "N K"]
    scale: Float[Tensor, "N K"]

    def __post_init__(self) -> None:
        check_parameters(weight=self.weight, location=self.location, scale=self.scale)
        miss = (self.weight.sum(dim=1) - 1).abs().max().item()
        if not (self.weight >= 0).all() or miss > _SUM_TOLERANCE:
            raise ValueError(
                f"weights must be at least zero and sum to 1 in each row, got a least one of "
                f"{self.weight.min().item():.4g} and sums that miss 1 by up to {miss:.4g}; apply softmax(dim=1)"
            )

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.location)

    def cdf(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return ``Σ_i w_i Φ((y - μ_i)/σ_i)``; see :meth:`Predictive.cdf`."""
        check_outcomes(y, len(self))
        values: Tensor = (self._per_component(self.weight, y) * torch.special.ndtr(self._standardised(y))).sum(dim=-1)
        return values.clamp(max=1)  # weights may miss a sum of one by rounding

    def quantile(self, levels: Float[Tensor, " L"]) -> Float[Tensor, "N L"]:
        """Return the quantiles of the mixture; see :meth:`Predictive.quantile`."""
        check_levels(levels)
        levels = levels.to(torch.promote_types(levels.dtype, self.location.dtype))
        share = self.weight / self.weight.sum(dim=1, keepdim=True)
        exact = GaussianMixture(share, self.location, self.scale)
        parts = self.location[..., None] + self.scale[..., None] * torch.special.ndtri(levels)

        def function(x: Tensor) -> tuple[Tensor, Tensor]:
            return exact.cdf(x), exact.log_density(x).exp()

        found = invert_increasing(function, levels, parts.amin(dim=1).detach(), parts.amax(dim=1).detach())
        if not torch.is_grad_enabled() or not any(p.requires_grad for p in (share, self.location, self.scale)):
            return found
        finite = found.isfinite()
        inner = torch.where(finite, found, 0)
        value, slope = function(inner)
        step = torch.where(finite & (slope > 0), (levels - value) / slope.detach().clamp_min(1e-30), 0)
        return found + step - step.detach()

    def log_density(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return the log of the mixed densities; see :meth:`Predictive.log_density`."""
        check_outcomes(y, len(self))
        log_weight = self.weight.clamp_min(torch.finfo(self.weight.dtype).tiny).log()
        log_scale = self._per_component(self.scale, y).log()
        logs = -0.5 * self._standardised(y).square() - log_scale - 0.5 * math.log(2 * math.pi)
        return (self._per_component(log_weight, y) + logs).logsumexp(dim=-1)

    def mean(self) -> Float[Tensor, " N"]:
        """Return ``Σ_i w_i μ_i``, in the unit of the outcome."""
        return (self.weight * self.location).sum(dim=1)

    def crps(self, y: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Return the score in closed form; see :meth:`Predictive.crps`."""
        check_outcomes(y, len(self))
        to_outcome = (self.weight * expected_distance(y[:, None] - self.location, self.scale)).sum(dim=1)
        gaps = self.location[:, :, None] - self.location[:, None, :]
        spread = torch.hypot(self.scale[:, :, None], self.scale[:, None, :])
        pairs = self.weight[:, :, None] * self.weight[:, None, :]
        return to_outcome - 0.5 * (pairs * expected_distance(gaps, spread)).sum(dim=(1, 2))

    def _standardised(self, y: Tensor) -> Tensor:
        return (y[..., None] - self._per_component(self.location, y)) / self._per_component(self.scale, y)

    @staticmethod
    def _per_component(parameter: Tensor, y: Tensor) -> Tensor:
        """Return (N, K) parameters in a shape that broadcasts against values (N, 1) or (N, V, 1)."""
        return parameter if y.ndim == 1 else parameter[:, None, :]
