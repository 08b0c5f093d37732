"""Kendall's rank correlation of two maps with ties, by Kendall (1945), in the time of a few sorts by Knight (1966)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.explain._map_pairs import paired_rows, undefined_where
from trueline.numerics import average_ranks


@method(
    Reference(
        authors="Maurice G. Kendall",
        title="The Treatment of Ties in Ranking Problems",
        venue="Biometrika",
        year=1945,
        doi="10.1093/biomet/33.3.239",
    ),
    Reference(
        authors="William R. Knight",
        title="A Computer Method for Calculating Kendall's Tau with Ungrouped Data",
        venue="Journal of the American Statistical Association",
        year=1966,
        doi="10.1080/01621459.1966.10480879",
    ),
    cost="log2 D sorts of each map of D entries",
)
def kendall_tau(first: Float[Tensor, "N *map"], second: Float[Tensor, "N *map"]) -> Float[Tensor, " N"]:
    """Return Kendall's τ_b: of the pairs of entries, how many two maps order alike rather than the other way round.

    ``(P - Q) / sqrt((n - t)(n - u))`` with P pairs that both order alike, Q that they order in opposite ways, n pairs
    in all, and t and u pairs that are tied in one and in the other.

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
        >>> round(kendall_tau(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2.0, 1.0, 3.0]])).item(), 4)
        0.3333
    """
    one, other = ((2 * average_ranks(rows)).long() for rows in paired_rows(first, second))
    size = one.shape[1]
    joint = one * (2 * size + 1) + other
    in_order = joint.sort(dim=1).values  # by the first map, and by the second where it ties
    swapped = _inversions(in_order % (2 * size + 1))
    pairs = size * (size - 1) // 2
    ties_one, ties_other, ties_both = _tied_pairs(one), _tied_pairs(other), _tied_pairs(joint)
    surplus = pairs - ties_one - ties_other + ties_both - 2 * swapped
    sizes = (pairs - ties_one).double().sqrt() * (pairs - ties_other).double().sqrt()
    found = surplus.double() / torch.where(sizes > 0, sizes, 1)
    return undefined_where(found.clamp(-1, 1), sizes == 0)


def _tied_pairs(keys: Int64[Tensor, "N D"]) -> Int64[Tensor, " N"]:
    ordered = keys.sort(dim=1).values
    alike = torch.searchsorted(ordered, keys, right=True) - torch.searchsorted(ordered, keys)
    return (alike - 1).sum(dim=1) // 2


def _inversions(values: Int64[Tensor, "N D"]) -> Int64[Tensor, " N"]:
    """Return how many pairs of each row have the larger value first, by merging sorted blocks of doubled size."""
    samples, size = values.shape
    width = 1 << (size - 1).bit_length()
    blocks = torch.full((samples, width), torch.iinfo(values.dtype).max, dtype=values.dtype, device=values.device)
    blocks[:, :size] = values  # what fills up is the largest and last, and so in order
    count = torch.zeros(samples, dtype=torch.int64, device=values.device)
    block = 1
    while block < width:
        halves = blocks.view(samples, -1, 2, block)
        smaller = torch.searchsorted(halves[:, :, 1].contiguous(), halves[:, :, 0].contiguous())
        count += smaller.sum(dim=(1, 2))
        blocks = halves.reshape(samples, -1, 2 * block).sort(dim=2).values.view(samples, width)
        block *= 2
    return count
