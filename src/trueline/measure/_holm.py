"""P-values corrected for how many there are, by Holm (1979)."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference

HOLM = Reference(
    authors="Sture Holm",
    title="A Simple Sequentially Rejective Multiple Test Procedure",
    venue="Scandinavian Journal of Statistics",
    year=1979,
)


def holm(p_values: Float[Tensor, " M"]) -> Float[Tensor, " M"]:
    """Return ``max over the j smallest of (M - j + 1)·p_(j)``, at most one, in the order of the input.

    Args:
        p_values: (M,) p-values; NaN where there was no test, which stays NaN and does not count.
    """
    tested = p_values.isfinite()
    ordered, order = p_values[tested].sort()
    steps = torch.arange(len(ordered), 0, -1, dtype=p_values.dtype)
    raised = (ordered * steps).clamp_max(1)
    adjusted = torch.full_like(p_values, torch.nan)
    adjusted[tested] = torch.empty_like(ordered).scatter_(0, order, raised.cummax(0).values if len(raised) else raised)
    return adjusted
