"""Selections among many tests: by p-values, Benjamini and Hochberg (1995), and by e-values, Wang and Ramdas (2022)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trueline.contracts import Reference, method

GUARD = 1 + 1e-12  # p-values are fractions, and often equal to their limit but for rounding


@method(
    Reference(
        authors="Yoav Benjamini, Yosef Hochberg",
        title="Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple Testing",
        venue="Journal of the Royal Statistical Society, Series B",
        year=1995,
        doi="10.1111/j.2517-6161.1995.tb02031.x",
    ),
    cost="one sort of the p-values",
)
def benjamini_hochberg(p_values: Float[Tensor, " M"], level: float) -> Bool[Tensor, " M"]:
    """Return which hypotheses are rejected so that on average at most a share ``level`` of them is true.

    Rejects the k smallest p-values for the largest k with ``p_(k) <= level·k/M``. The share of true ones among the
    rejected is at most ``level`` on average if the p-values are independent, or conformal with one calibration set.

    Args:
        p_values: (M,) p-values in [0, 1].
        level: the false discovery rate, in (0, 1).

    Returns:
        (M,) True for the rejected; equal p-values share their fate.

    Raises:
        ValueError: if a p-value lies outside [0, 1] or ``level`` outside (0, 1).

    Example:
        >>> benjamini_hochberg(torch.tensor([0.01, 0.04, 0.03, 0.9]), 0.1).tolist()
        [True, True, True, False]
    """
    check_level(level)
    if not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError("p_values must lie in [0, 1] and must not be NaN")
    values, number = p_values.double(), len(p_values)
    ordered = values.sort().values
    places = torch.arange(1, number + 1, dtype=torch.float64, device=values.device)
    passed = (ordered <= level * places / max(number, 1) * GUARD).nonzero()
    if len(passed) == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    return values <= ordered[passed[-1, 0]]


@method(
    Reference(
        authors="Ruodu Wang, Aaditya Ramdas",
        title="False Discovery Rate Control with E-values",
        venue="Journal of the Royal Statistical Society, Series B",
        year=2022,
        arxiv="2009.02824",
    ),
    cost="one sort of the e-values",
)
def e_benjamini_hochberg(e_values: Float[Tensor, " M"], level: float) -> Bool[Tensor, " M"]:
    """Return which hypotheses are rejected so that on average at most a share ``level`` of them is true.

    An e-value is at least zero and at most 1 on average if its hypothesis is true. Rejects the k largest for the
    largest k with ``e_(k) >= M/(level·k)``. That holds however the e-values depend on each other.

    Args:
        e_values: (M,) e-values, at least 0; infinity is allowed.
        level: the false discovery rate, in (0, 1).

    Returns:
        (M,) True for the rejected; equal e-values share their fate.

    Raises:
        ValueError: if an e-value is negative or NaN, or ``level`` lies outside (0, 1).

    Example:
        >>> e_benjamini_hochberg(torch.tensor([10.0, 0.0, 20.0, 25.0]), 0.2).tolist()
        [True, False, True, True]
    """
    check_level(level)
    if not (e_values >= 0).all():
        raise ValueError("e_values must be at least 0 and must not be NaN")
    return benjamini_hochberg(e_values.double().reciprocal().clamp_max(1), level)


def check_level(level: float) -> None:
    """Refuse a false discovery rate outside (0, 1).

    Args:
        level: the rate.

    Raises:
        ValueError: if it is none.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}; for 10 % false discoveries pass 0.1")
