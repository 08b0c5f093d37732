"""The widths of intervals, without the differences that rounding alone makes between them."""

import torch
from jaxtyping import Float
from torch import Tensor

_DIGITS = 2.0**30  # steps of a mantissa that are told apart: about nine decimal digits


def widths(interval: Float[Tensor, "N 2"]) -> Float[Tensor, " N"]:
    """Return ``upper - lower``, rounded to nine digits.

    Intervals of one width around different predictions differ in the last digits, and whoever is accepted for that is
    accepted by chance.

    Args:
        interval: (N, 2) lower and upper ends.

    Returns:
        (N,) widths, float64; infinite where an end is.

    Example:
        >>> ends = torch.tensor([[0.0, 0.3], [0.1, 0.4], [1.0, 1.3]], dtype=torch.float64)
        >>> len(torch.unique(ends[:, 1] - ends[:, 0])), len(torch.unique(widths(ends)))
        (2, 1)
    """
    mantissa, exponent = torch.frexp((interval[:, 1] - interval[:, 0]).double())
    return torch.ldexp((mantissa * _DIGITS).round() / _DIGITS, exponent)
