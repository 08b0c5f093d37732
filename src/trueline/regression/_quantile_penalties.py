"""Terms that train predicted quantiles and intervals towards their coverage, as compared by Dheur and Ben Taieb (2023).

Each is a scalar to be added, with a weight, to the mean pinball loss of a batch. A batch of fewer than about 256
samples says little about a share.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, check_tensors, method
from trueline.regression._calibration_error import STUDY
from trueline.regression._scores import check_quantiles


@method(
    Reference(
        authors="Youngseog Chung, Willie Neiswanger, Ian Char, Jeff Schneider",
        title="Beyond Pinball Loss: Quantile Methods for Calibrated Uncertainty Quantification",
        venue="NeurIPS",
        year=2021,
        arxiv="2011.09588",
    ),
    STUDY,
    cost="a few operations per sample and level",
)
def truncated_distribution_penalty(
    y: Float[Tensor, " B"], quantiles: Float[Tensor, "B L"], levels: Float[Tensor, " L"]
) -> Float[Tensor, ""]:
    """Return how far the outcomes on the wrong side of quantiles with the wrong share lie from them, on average.

    With ``p_t`` the share of the batch at or below its quantile of level t, the term of that level is
    ``mean_i (y_i - q_t)₊`` where p_t < t, which pulls the quantiles up, ``mean_i (q_t - y_i)₊`` where p_t > t, which
    pulls them down, and zero where the share is exact (the study adds up both there). The shares themselves carry no
    gradient, so that no smoothing is needed. The mean over levels is returned.

    Args:
        y: (B,) outcomes.
        quantiles: (B, L) predicted quantiles with their gradient.
        levels: (L,) their levels in (0, 1).

    Returns:
        A scalar in the unit of the outcome, at least zero.

    Raises:
        ValueError: if shapes do not fit, there are no samples, or a level lies outside (0, 1).

    Example:
        >>> y, quantiles = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.full((4, 1), 0.5)
        >>> round(truncated_distribution_penalty(y, quantiles, torch.tensor([0.5])).item(), 3)  # (½ + 3/2 + 5/2)/4
        1.125
    """
    check_quantiles(y, quantiles, levels)
    error = y[:, None] - quantiles
    # In samples; levels in single precision are off by a part in ten million.
    excess = (error <= 0).sum(dim=0) - len(y) * levels.to(error.device).double()
    rounding = max(1e-3, 1e-7 * len(y))
    low, high = excess < -rounding, excess > rounding
    return (low * error.relu() + high * (-error).relu()).mean()


@method(
    Reference(
        authors="Tim Pearce, Alexandra Brintrup, Mohamed Zaki, Andy Neely",
        title="High-Quality Prediction Intervals for Deep Learning: A Distribution-Free, Ensembled Approach",
        venue="ICML",
        year=2018,
        arxiv="1802.07167",
    ),
    STUDY,
    cost="one logistic function per sample and level",
)
def quantile_coverage_penalty(
    y: Float[Tensor, " B"], quantiles: Float[Tensor, "B L"], levels: Float[Tensor, " L"], *, sharpness: float = 100.0
) -> Float[Tensor, ""]:
    """Return the lack of coverage of the intervals above each quantile: the term of HQPI, as the study uses it.

    The outcomes above the quantile of level t should be a share 1 - t. With the smoothed share
    ``c_t = mean_i σ(s(y_i - q_t))`` the term of a level is ``max(1 - t - c_t, 0)²/(t(1 - t))``, and their mean is
    returned. Only quantiles that are too high cost anything; add the pinball loss, which knows the other side.

    Args:
        y: (B,) outcomes, standardised: the sharpness is per unit of theirs.
        quantiles: (B, L) predicted quantiles with their gradient.
        levels: (L,) their levels in (0, 1).
        sharpness: s, positive.

    Returns:
        A scalar, at least zero.

    Raises:
        ValueError: if shapes do not fit, there are no samples, or an option is not what is described above.

    Example:
        >>> y, quantiles = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.full((4, 1), 2.5)
        >>> round(quantile_coverage_penalty(y, quantiles, torch.tensor([0.5])).item(), 3)  # (½ - ¼)²/¼
        0.25
    """
    check_quantiles(y, quantiles, levels)
    if not sharpness > 0:
        raise ValueError(f"sharpness must be positive, got {sharpness}")
    wanted = 1 - levels.to(quantiles)
    covered = torch.sigmoid(sharpness * (y[:, None] - quantiles)).mean(dim=0)
    return ((wanted - covered).relu().square() / (wanted * (1 - wanted))).mean()


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
    check_tensors(y=y, lower=lower, upper=upper)
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
