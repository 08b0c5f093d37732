"""Ranks of numbers, ties averaged."""

import torch
from jaxtyping import Float
from torch import Tensor


def average_ranks(rows: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    """Return the rank of each entry in its row, 1 for the smallest; equal entries have the mean of theirs.

    Args:
        rows: (N, D).

    Returns:
        (N, D) float64, whole or half numbers.

    Example:
        >>> average_ranks(torch.tensor([[3.0, 1.0, 3.0, 0.0]])).tolist()
        [[3.5, 2.0, 3.5, 1.0]]
    """
    rows = rows.contiguous()
    ordered = rows.sort(dim=1).values
    below = torch.searchsorted(ordered, rows)
    upto = torch.searchsorted(ordered, rows, right=True)
    return (below + upto + 1).double() / 2
