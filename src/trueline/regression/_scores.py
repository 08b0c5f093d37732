"""Scores of predictive distributions, one value a sample, that also serve as losses."""

from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, check_tensors, method
from trueline.regression._predictive import Predictive, check_outcomes

RAFTERY = Reference(
    authors="Tilmann Gneiting, Adrian E. Raftery",
    title="Strictly Proper Scoring Rules, Prediction, and Estimation",
    venue="Journal of the American Statistical Association",
    year=2007,
    doi="10.1198/016214506000001437",
)


@method(RAFTERY, cost="one density per sample")
def negative_log_density(distribution: Predictive, y: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return ``-ln f(y)``, the log score, which depends on the unit of the outcome and may be negative.

    Args:
        distribution: N predicted distributions that have a density.
        y: (N,) outcomes.

    Returns:
        (N,) scores in nats; smaller is better.

    Raises:
        ValueError: if the distribution has no density, as one recalibrated by :class:`EmpiricalRecalibration`.

    Example:
        >>> import torch
        >>> from trueline.regression import Gaussian
        >>> negative_log_density(Gaussian(torch.zeros(1), torch.ones(1)), torch.zeros(1))  # ln √(2π)
        tensor([0.9189])
    """
    if not distribution.has_density:
        raise ValueError(
            f"a {type(distribution).__name__} of steps has no density to score; use crps, or a recalibration that has "
            "one, such as LinearRecalibration"
        )
    return -distribution.log_density(y)


@method(RAFTERY, cost="see the distribution: closed forms, or quantiles at 200 levels for a recalibrated one")
def crps(distribution: Predictive, y: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return the continuous ranked probability score, ``∫ (F(x) - 1[y <= x])² dx``; ``|m - y|`` for a point m.

    Args:
        distribution: N predicted distributions.
        y: (N,) outcomes.

    Returns:
        (N,) scores in the unit of the outcome, at least zero; smaller is better.

    Example:
        >>> import torch
        >>> from trueline.regression import Gaussian
        >>> crps(Gaussian(torch.zeros(1), torch.ones(1)), torch.zeros(1))
        tensor([0.2337])
    """
    check_outcomes(y, len(distribution))
    return distribution.crps(y)


@method(
    Reference(
        authors="Roger Koenker, Gilbert Bassett",
        title="Regression Quantiles",
        venue="Econometrica",
        year=1978,
        doi="10.2307/1913643",
    ),
    cost="a few operations per quantile",
)
def pinball_loss(
    y: Float[Tensor, " N"], quantiles: Float[Tensor, "N L"], levels: Float[Tensor, " L"]
) -> Float[Tensor, " N"]:
    """Return the mean over levels of ``max(t·(y - q_t), (t - 1)·(y - q_t))``, least for the true quantiles.

    Over many even levels it tends to half the continuous ranked probability score.

    Args:
        y: (N,) outcomes.
        quantiles: (N, L) predicted quantiles.
        levels: (L,) their levels in (0, 1).

    Returns:
        (N,) losses in the unit of the outcome, at least zero.

    Raises:
        ValueError: if shapes do not fit, something is empty or a level lies outside (0, 1).

    Example:
        >>> import torch
        >>> pinball_loss(torch.tensor([1.0]), torch.tensor([[0.0, 3.0]]), torch.tensor([0.25, 0.75]))
        tensor([0.3750])
    """
    check_quantiles(y, quantiles, levels)
    error = y[:, None] - quantiles
    weight = levels.to(error)
    return (weight * error).maximum((weight - 1) * error).mean(dim=1)


def check_quantiles(y: Tensor, quantiles: Tensor, levels: Tensor) -> None:
    """Raise a ValueError unless there is a quantile of each level in (0, 1) for each of the outcomes."""
    check_tensors(y=y, quantiles=quantiles, levels=levels)
    if quantiles.ndim != 2 or quantiles.shape != (*y.shape, len(levels)) or quantiles.numel() == 0:
        raise ValueError(
            "expected y (N,), quantiles (N, L) and levels (L,), none of them empty, got "
            f"{tuple(y.shape)}, {tuple(quantiles.shape)} and {tuple(levels.shape)}"
        )
    if not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"levels must lie strictly between 0 and 1, got {levels.tolist()}")
