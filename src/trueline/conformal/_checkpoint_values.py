"""What the methods of conformalised early stopping share: checks, the published source, and unions of intervals."""

import math
import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.conformal._conformal_quantile import too_few
from trueline.contracts import Reference, check_tensors
from trueline.numerics import conformal_rank

LIANG = Reference(
    authors="Ziyi Liang, Yanfei Zhou, Matteo Sesia",
    title="Conformal Inference is (Almost) Free for Neural Networks Trained with Early Stopping",
    venue="ICML",
    year=2023,
    arxiv="2301.11556",
)


def read_checkpoints(
    name: str, values: Float[Tensor, "T N"], *, checkpoints: int | None = None, samples: int | None = None
) -> Float[Tensor, "T N"]:
    """Return one row of values for each checkpoint in double precision, after checking them.

    Args:
        name: what they are called.
        values: (T, N) finite numbers.
        checkpoints: the T that is asked for, or None.
        samples: the N that is asked for, or None.

    Returns:
        (T, N) float64.

    Raises:
        TypeError: if they are not floating point.
        ValueError: if the shape does not fit or a value is not finite.
    """
    check_tensors(**{name: values})
    if not values.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.double()")
    if values.ndim != 2 or values.numel() == 0:
        raise ValueError(f"{name} must have shape (T, N), one row a checkpoint, got {tuple(values.shape)}")
    for wanted, got, what in ((checkpoints, len(values), "checkpoints"), (samples, values.shape[1], "samples")):
        if wanted is not None and wanted != got:
            raise ValueError(f"{name} must hold {wanted} {what} to match the others, got {got}")
    if not values.isfinite().all():
        raise ValueError(f"{name} must be finite; leave out checkpoints and samples that are not")
    return values.detach().double()


def read_outcomes(y: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return outcomes in double precision, after checking them.

    Args:
        y: (N,) finite numbers.

    Returns:
        (N,) float64.

    Raises:
        TypeError: if they are not floating point.
        ValueError: if the shape does not fit or a value is not finite.
    """
    check_tensors(y=y)
    if not y.is_floating_point():
        raise TypeError(f"y must be floating point, got {y.dtype}; convert with y.double()")
    if y.ndim != 1 or len(y) == 0 or not y.isfinite().all():
        raise ValueError(f"y must have shape (N,) with N >= 1 and be finite, got {tuple(y.shape)}")
    return y.detach().double()


def warned_rank(count: int, alpha: float) -> int:
    """Return the place of the threshold among ``count`` scores, after a warning if it lies behind the last.

    Args:
        count: n, how many calibration scores there are.
        alpha: wanted rate of misses, in (0, 1).

    Returns:
        A whole number in [1, n + 1].
    """
    rank = conformal_rank(count, alpha)
    if rank > count:
        warnings.warn(too_few(f"only {count}", alpha), stacklevel=3)
    return rank


def unions(lower: Float[Tensor, "M K"], upper: Float[Tensor, "M K"]) -> list[Float[Tensor, "K2 2"]]:
    """Return the union of the intervals of each row, those that touch merged.

    Args:
        lower: (M, K) lower ends, in ascending order but for intervals that are empty.
        upper: (M, K) upper ends; an interval whose upper end is below the lower one is empty.

    Returns:
        For each row a (K', 2) tensor of disjoint intervals in ascending order; K' may be 0.
    """
    found = []
    for low, high in zip(lower, upper, strict=True):
        held = low <= high
        low, high = low[held], high[held]
        apart = torch.ones(len(low) + 1, dtype=torch.bool, device=low.device)
        apart[1:-1] = low[1:] > high[:-1]
        found.append(torch.stack([low[apart[:-1]], high[apart[1:]]], dim=1))
    return found


def hull(lower: Float[Tensor, "M K"], upper: Float[Tensor, "M K"]) -> Float[Tensor, "M 2"]:
    """Return the shortest interval that holds all intervals of a row.

    Args:
        lower: (M, K) lower ends.
        upper: (M, K) upper ends; an interval whose upper end is below the lower one is empty.

    Returns:
        (M, 2) intervals, from infinity to minus infinity where all are empty.
    """
    held = lower <= upper
    low, high = torch.where(held, lower, math.inf).amin(dim=1), torch.where(held, upper, -math.inf).amax(dim=1)
    return torch.stack([low, high], dim=1)
