"""Terms that make the PITs of a batch uniform while a model trains, as compared by Dheur and Ben Taieb (2023).

Each is a scalar to be added, with a weight, to the mean loss of a batch. A batch of fewer than about 256 samples says
little about a distribution.
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
    spacings, so with m close to B it asks for distributions that are too narrow. The published m = 64 does so in
    batches of 512.

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
        authors="Shengjia Zhao, Tengyu Ma, Stefano Ermon",
        title="Individual Calibration with Randomized Forecasting",
        venue="ICML",
        year=2020,
        arxiv="2006.10288",
    ),
    STUDY,
    cost="one subtraction per PIT",
)
def individual_calibration_penalty(pit: Float[Tensor, " B"], drawn: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Return the mean of ``|Z_i - r_i|``: how far a randomised forecaster's PITs are from the numbers it was given.

    A randomised forecaster takes, beside each input, a number r drawn evenly from [0, 1], anew in each step, and
    answers with a distribution that depends on it. Where Z = r for every r, the PIT of a single sample is uniform over
    the draws, so calibration holds for each sample and not only on average, at the price of a wider forecast.

    Args:
        pit: (B,) PITs with their gradient, such as ``distribution.cdf(y)`` of the forecast for the drawn numbers.
        drawn: (B,) the numbers r, each in [0, 1].

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: if shapes differ or a value lies outside [0, 1].

    Example:
        >>> round(individual_calibration_penalty(torch.tensor([0.2, 0.9]), torch.tensor([0.5, 0.8])).item(), 3)
        0.2
    """
    check_pit(pit)
    if drawn.shape != pit.shape:
        raise ValueError(
            f"pit and drawn must have one shape (B,), got {tuple(pit.shape)} and {tuple(drawn.shape)}; draw one number "
            "a sample"
        )
    if not ((drawn >= 0) & (drawn <= 1)).all():
        raise ValueError("drawn must lie in [0, 1], as torch.rand gives it")
    return (pit - drawn).abs().mean()
