"""How far probability integral transforms are from uniform, after Dheur and Ben Taieb (2023)."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, check_tensors, method

STUDY = Reference(
    authors="Victor Dheur, Souhaib Ben Taieb",
    title="A Large-Scale Study of Probabilistic Calibration in Neural Network Regression",
    venue="ICML",
    year=2023,
    arxiv="2306.02738",
)


@method(STUDY, cost="one sort of the PITs")
def probabilistic_calibration_error(
    pit: Float[Tensor, " N"], *, levels: int = 99, power: float = 1
) -> Float[Tensor, ""]:
    """Return the mean over levels of ``|t - F̂(t)|^power``, where F̂(t) is the share of PITs of at most t.

    The levels are ``j/(M + 1)``, j = 1 to M. No root is taken. Right predictions do not give zero: with power 1 their
    error is about ``0.313/√N``, see :func:`probabilistic_calibration_null`.

    Args:
        pit: (N,) values from :func:`pit`.
        levels: number M of levels, at least 1.
        power: exponent, positive.

    Returns:
        A scalar, float64, in [0, ½] for power 1.

    Raises:
        ValueError: if there are no PITs, one lies outside [0, 1], or an option is out of range.

    Example:
        >>> probabilistic_calibration_error(torch.full((10,), 0.5), levels=999).round(decimals=3).item()
        0.25
    """
    check_pit(pit)
    check_options(levels, power)
    ordered = pit.detach().double().sort().values
    at = torch.arange(1, levels + 1, dtype=torch.float64, device=pit.device) / (levels + 1)
    share = torch.searchsorted(ordered, at, right=True).double() / len(ordered)
    return (at - share).abs().pow(power).mean()


@method(STUDY, cost="one sort of the PITs")
def sorted_calibration_error(pit: Float[Tensor, " N"], *, power: float = 1) -> Float[Tensor, ""]:
    """Return the mean over samples of ``|Z_(i) - i/(N + 1)|^power`` for sorted PITs Z.

    It compares quantiles where :func:`probabilistic_calibration_error` compares shares, and needs no levels. Right
    predictions give ``1/(6(N + 1))`` on average with power 2.

    Args:
        pit: (N,) values from :func:`pit`.
        power: exponent, positive.

    Returns:
        A scalar, float64, in [0, ½] for power 1.

    Raises:
        ValueError: if there are no PITs, one lies outside [0, 1], or the power is not positive.

    Example:
        >>> sorted_calibration_error(torch.tensor([0.5, 0.75, 0.25])).item()
        0.0
    """
    check_pit(pit)
    check_options(1, power)
    ordered = pit.detach().double().sort().values
    wanted = torch.arange(1, len(ordered) + 1, dtype=torch.float64, device=pit.device) / (len(ordered) + 1)
    return (ordered - wanted).abs().pow(power).mean()


def check_pit(pit: Float[Tensor, " N"]) -> None:
    """Refuse what are no probability integral transforms.

    Args:
        pit: must be (N,) floating point in [0, 1], N at least 1.

    Raises:
        TypeError: if the dtype is wrong.
        ValueError: if the shape or a value is.
    """
    check_tensors(pit=pit)
    if not pit.is_floating_point():
        raise TypeError(f"pit must be floating point, got {pit.dtype}; convert with pit.float()")
    if pit.ndim != 1 or len(pit) == 0:
        raise ValueError(f"pit must have shape (N,) with N >= 1, got {tuple(pit.shape)}")
    if not ((wrong := pit.detach()) >= 0).all() or not (wrong <= 1).all():
        culprit = wrong[~((wrong >= 0) & (wrong <= 1))][0].item()
        raise ValueError(f"pit must lie in [0, 1], got {culprit}; compute it with pit(distribution, y)")


def check_options(levels: int, power: float) -> None:
    """Refuse what is no number of levels or no exponent.

    Args:
        levels: must be at least 1.
        power: must be positive.

    Raises:
        ValueError: if they are not.
    """
    if levels < 1:
        raise ValueError(f"levels must be at least 1, got {levels}")
    if not power > 0:
        raise ValueError(f"power must be positive, got {power}")
