"""Which of the sorted calibration values bounds a further one with a wanted probability, and that value."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

_GUARD = 1e-9  # (n + 1)(1 - alpha) may round to just above the whole number that it is


def conformal_rank(n: int, alpha: float) -> int:
    """Return which of n sorted values, counted from 1, the next one exceeds with a probability of at most alpha.

    ``k = ⌈(n + 1)(1 - alpha)⌉``. If n + 1 values are exchangeable, the last is at most the k-th smallest of the others
    with probability ``k/(n + 1)``, or more where values tie. A product within 1e-9 above a whole number counts as that
    number: 10·(1 - 0.1) is 9.

    Args:
        n: number of calibration values, at least 0.
        alpha: probability of an excess, in (0, 1).

    Returns:
        A rank from 1 to n + 1; n + 1 means that no calibration value is high enough, which is so below 1/alpha - 1
        values.

    Raises:
        ValueError: if n is negative or alpha lies outside (0, 1).

    Reference:
        Vovk, Gammerman, Shafer. Algorithmic Learning in a Random World. Springer, 2005.

    Example:
        >>> conformal_rank(9, 0.1), conformal_rank(8, 0.1), conformal_rank(99, 0.1)
        (9, 9, 90)
    """
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}; it is a number of calibration values")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha}; for 90 % coverage pass 0.1")
    return max(1, math.ceil((n + 1) * (1 - alpha) - _GUARD))


def order_statistic(values: Float[Tensor, "N *S"], rank: int) -> Float[Tensor, "*S"]:
    """Return the rank-th smallest value of each column, counted from 1; infinity beyond the last.

    Args:
        values: (N, ...) numbers, N at least 0.
        rank: at least 1.

    Returns:
        One value for each column, in the dtype of the values.

    Raises:
        ValueError: if the rank is below 1.

    Example:
        >>> order_statistic(torch.tensor([3.0, 1.0, 2.0]), 2).item(), order_statistic(torch.tensor([3.0]), 2).item()
        (2.0, inf)
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}; the smallest value has rank 1")
    if rank > len(values):
        return torch.full_like(values.new_empty(values.shape[1:]), math.inf)
    return values.kthvalue(rank, dim=0).values
