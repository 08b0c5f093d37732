"""Spearman's rank correlation of two maps, by Spearman (1904)."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.explain._map_pairs import paired_rows, undefined_where
from trueline.numerics import average_ranks


@method(
    Reference(
        authors="Charles Spearman",
        title="The Proof and Measurement of Association between Two Things",
        venue="American Journal of Psychology",
        year=1904,
        doi="10.2307/1412159",
    ),
    cost="two sorts of each map",
)
def rank_correlation(first: Float[Tensor, "N *map"], second: Float[Tensor, "N *map"]) -> Float[Tensor, " N"]:
    """Return the correlation of the ranks that the entries have in two maps.

    ``Σ_j (r_j - r̄)(s_j - s̄) / sqrt(Σ_j (r_j - r̄)² · Σ_j (s_j - s̄)²)``, where equal entries have the mean of the ranks
    that they take up.

    Args:
        first: (N, ...) maps.
        second: (N, ...) maps of the same samples.

    Returns:
        (N,) in [-1, 1], float64; 1 where one is an increasing function of the other, and NaN where a map is constant,
        since it orders nothing.

    Raises:
        ValueError: if shapes differ or a map is not finite.
        TypeError: if a batch is not floating point.

    Example:
        >>> rank_correlation(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 10.0, 100.0]])).item()
        1.0
    """
    one, other = (average_ranks(rows) for rows in paired_rows(first, second))
    middle = (one.shape[1] + 1) / 2
    one, other = one - middle, other - middle
    sizes = one.square().sum(dim=1) * other.square().sum(dim=1)
    found = (one * other).sum(dim=1) / torch.where(sizes > 0, sizes, 1).sqrt()
    return undefined_where(found.clamp(-1, 1), sizes == 0)
