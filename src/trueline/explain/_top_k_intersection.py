"""The share of the largest entries that two maps have in common, as used by Ghorbani, Abid and Zou (2019)."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import method
from trueline.explain._fragile import FRAGILE
from trueline.explain._map_pairs import paired_rows


@method(FRAGILE, cost="a partial sort of each map")
def top_k_intersection(
    first: Float[Tensor, "N *map"], second: Float[Tensor, "N *map"], k: float = 0.1
) -> Float[Tensor, " N"]:
    """Return how many of the k largest entries of one map are among the k largest of the other, as a share.

    ``Σ_j min(a_j, b_j) / k``, where ``a_j`` is 1 for the k largest entries and 0 for the others. Entries that tie for
    the last places share these evenly: of a map that is zero everywhere each has ``k/D``. So the answer does not depend
    on the order of the entries, equal maps have 1, and a map of zeros has what chance gives, ``k/D``, with any other.

    Entries are compared as they are; for the most important ones whatever their sign, pass :func:`magnitude` of both.

    Args:
        first: (N, ...) maps.
        second: (N, ...) maps of the same samples.
        k: how many entries: a count, or below 1 a share of the entries, rounded and at least one.

    Returns:
        (N,) shares in [0, 1], float64; 1 where both have the same entries on top. The same with both swapped.

    Raises:
        ValueError: if shapes differ, k is out of range, or a map is not finite.
        TypeError: if a batch is not floating point.

    Example:
        >>> top_k_intersection(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), torch.tensor([[4.0, 1.0, 3.0, 2.0]]), k=2).item()
        0.5
    """
    one, other = paired_rows(first, second)
    count = entries(k, one.shape[1])
    return torch.minimum(on_top(one, count), on_top(other, count)).sum(dim=1) / count


def entries(k: float, size: int) -> int:
    """Return how many entries of a map are meant.

    Args:
        k: a count, or below 1 a share.
        size: entries of a map.

    Raises:
        ValueError: if there are not as many.
    """
    count = max(round(k * size), 1) if 0 < k < 1 else k
    if not 1 <= count <= size or count != int(count):
        raise ValueError(f"k must be a count from 1 to {size}, the entries of a map, or a share below 1, got {k}")
    return int(count)


def on_top(rows: Float[Tensor, "N D"], count: int) -> Float[Tensor, "N D"]:
    """Return 1 for the largest entries of each row and 0 for the others; those tied for the last places share them.

    Args:
        rows: (N, D).
        count: how many are the largest, from 1 to D.

    Returns:
        (N, D) in the dtype of the rows; each row sums to ``count``.
    """
    last = rows.topk(count, dim=1).values[:, -1:]
    above, tied = rows > last, rows == last
    left = count - above.sum(dim=1, keepdim=True)
    return above.to(rows.dtype) + tied.to(rows.dtype) * (left / tied.sum(dim=1, keepdim=True)).to(rows.dtype)
