"""Terms that make the PITs of a batch uniform while a model trains, as compared by Dheur and Ben Taieb (2023).

Each is a scalar to be added, with a weight, to the mean loss of a batch. A batch of fewer than about 256 samples says
little about a distribution. Of the study's other terms, the truncated distribution, HQPI and IC are left out: their
formulas were not available in full.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.regression._calibration_error import STUDY, check_pit


@method(STUDY, cost="one logistic function per PIT and level")
def pce_kde(pit: Float[Tensor, " B"], *, levels: int = 100, sharpness: float = 100.0) -> Float[Tensor, ""]:
    """Return the mean over levels of ``|t - F̂(t)|`` for the smoothed share ``F̂(t) = mean_i σ(s(t - Z_i))``.

    Args:
        pit: (B,) PITs with their gradient, such as ``distribution.cdf(y)``.
        levels: number of the centred levels ``(j - ½)/M``, at least 1.
        sharpness: s, positive.

    Returns:
        A scalar, at least zero.

    Raises:
        ValueError: if the PITs or options are not what is described above.

    Example:
        >>> round(pce_kde(torch.full((256,), 0.5)).item(), 3)  # 1/4 - 2·ln 2/s
        0.236
    """
    check_pit(pit)
    if levels < 1 or not sharpness > 0:
        raise ValueError(f"levels must be at least 1 and sharpness positive, got {levels} and {sharpness}")
    at = (torch.arange(levels, dtype=pit.dtype, device=pit.device) + 0.5) / levels
    return (at - torch.sigmoid(sharpness * (at - pit[:, None])).mean(dim=0)).abs().mean()


@method(
    STUDY,
    Reference(
        authors="Sebastian Prillo, Julian Martin Eisenschlos",
        title="SoftSort: A Continuous Relaxation for the argsort Operator",
        venue="ICML",
        year=2020,
        arxiv="2006.16038",
    ),
    cost="one exponential per pair of PITs",
)
def pce_sort(pit: Float[Tensor, " B"], *, temperature: float = 0.01) -> Float[Tensor, ""]:
    """Return the mean of ``|Z̃_(i) - i/(B + 1)|`` for softly sorted PITs Z̃.

    The soft sort is that of Prillo and Eisenschlos: the i-th value is the mean of all PITs with the weights
    ``softmax_j(-|Z_(i) - Z_j|/τ)``, so that each position pulls on several samples.
    For τ to zero it is the sort itself.

    Args:
        pit: (B,) PITs with their gradient, such as ``distribution.cdf(y)``.
        temperature: τ, positive, in the unit of the PITs.

    Returns:
        A scalar, at least zero.

    Raises:
        ValueError: if the PITs or the temperature are not what is described above.

    Example:
        >>> round(pce_sort(torch.tensor([0.75, 0.25, 0.5])).item(), 6)
        0.0
    """
    check_pit(pit)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    ordered = pit.sort().values
    softly = (-(ordered[:, None] - pit).abs() / temperature).softmax(dim=1) @ pit
    wanted = torch.arange(1, len(pit) + 1, dtype=pit.dtype, device=pit.device) / (len(pit) + 1)
    return (softly - wanted).abs().mean()


@method(
    Reference(
        authors="Saiteja Utpala, Piyush Rai",
        title="Quantile Regularization: Towards Implicit Calibration of Regression Models",
        venue="arXiv",
        year=2020,
        arxiv="2002.12860",
    ),
    STUDY,
    Reference(
        authors="Oldrich Vasicek",
        title="A Test for Normality Based on Sample Entropy",
        venue="Journal of the Royal Statistical Society, Series B",
        year=1976,
    ),
    cost="one sort of the PITs",
)
def quantile_entropy(pit: Float[Tensor, " B"], *, spacing: int = 64) -> Float[Tensor, ""]:
    """Return the negative entropy of the PITs, estimated from their m-spacings; least where they are uniform.

    ``-mean_i ln((B + 1)/m·(Z_(i + m) - Z_(i)) + 1e-5)``, i = 1 to B - m. The sum holds little of the outermost
    spacings, so with m close to B it asks for distributions that are too narrow: for 512 outcomes a normal model does
    best at 0.94 of the right standard deviation with m = 8, and at 0.76 with the published m = 64.

    Args:
        pit: (B,) PITs with their gradient, such as ``distribution.cdf(y)``.
        spacing: m, at least 1 and below B.

    Returns:
        A scalar in nats: 0 for evenly spaced PITs.

    Raises:
        ValueError: if the PITs are not what is described above, or too few for the spacing.

    Example:
        >>> round(quantile_entropy(torch.arange(1, 256) / 256).item(), 3)
        -0.0
    """
    check_pit(pit)
    if not 1 <= spacing < len(pit):
        raise ValueError(
            f"spacing must be at least 1 and below the number of PITs, got {spacing} for {len(pit)}; use larger batches"
        )
    ordered = pit.sort().values
    gaps = ordered[spacing:] - ordered[:-spacing]
    return -((len(pit) + 1) / spacing * gaps + 1e-5).log().mean()


@method(
    Reference(
        authors="Shai Feldman, Stephen Bates, Yaniv Romano",
        title="Improving Conditional Coverage via Orthogonal Quantile Regression",
        venue="NeurIPS",
        year=2021,
        arxiv="2106.00394",
    ),
    cost="a few operations per sample",
)
def orthogonal_quantile_penalty(
    y: Float[Tensor, " B"], lower: Float[Tensor, " B"], upper: Float[Tensor, " B"], *, sharpness: float = 50.0
) -> Float[Tensor, ""]:
    """Return how strongly the length of an interval goes with whether it holds the outcome: ``|correlation|``.

    Intervals that cover every kind of sample equally often have none. An indicator has no gradient, so Pearson's
    correlation is taken with ``σ(s·min(y - lower, upper - y)/mean length)``; this smoothing, which does not
    depend on the unit of the outcome, is our choice.

    Args:
        y: (B,) outcomes.
        lower: (B,) lower ends of the intervals.
        upper: (B,) upper ends.
        sharpness: s, positive.

    Returns:
        A scalar in [0, 1]; 0 where all lengths or all indicators are equal.

    Raises:
        ValueError: if shapes differ, there are fewer than two samples, or the sharpness is not positive.

    Example:
        >>> y, lower = torch.zeros(4), torch.tensor([-1.0, -1.0, 2.0, 2.0])
        >>> round(orthogonal_quantile_penalty(y, lower, torch.tensor([2.0, 2.0, 3.0, 3.0])).item(), 3)
        1.0
    """
    if y.ndim != 1 or len(y) < 2 or lower.shape != y.shape or upper.shape != y.shape:
        raise ValueError(
            f"y, lower and upper must have one shape (B,) with B >= 2, got {tuple(y.shape)}, {tuple(lower.shape)} and "
            f"{tuple(upper.shape)}"
        )
    if not sharpness > 0:
        raise ValueError(f"sharpness must be positive, got {sharpness}")
    length = upper - lower
    unit = length.detach().abs().mean().clamp_min(torch.finfo(length.dtype).tiny)
    inside = torch.sigmoid(sharpness * torch.minimum(y - lower, upper - y) / unit)
    centred, hits = (length - length.mean()) / unit, inside - inside.mean()
    variance = centred.square().sum() * hits.square().sum()
    tiny = torch.finfo(variance.dtype).eps ** 2
    return (centred * hits).sum().abs() / variance.clamp_min(tiny).sqrt() * (variance > tiny)
