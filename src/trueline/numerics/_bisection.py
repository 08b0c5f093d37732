"""Roots of monotone functions by bisection, elementwise on tensors."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def bisect_root(
    function: Callable[[Float[Tensor, "*shape"]], Float[Tensor, "*shape"]],
    low: Float[Tensor, "*shape"],
    high: Float[Tensor, "*shape"],
    *,
    steps: int = 50,
) -> Float[Tensor, "*shape"]:
    """Return where a non-decreasing function changes sign, by halving a bracket.

    Every element has its own bracket. Where the function is positive throughout, the result is within
    ``(high - low) / 2**steps`` of ``low``; where it is negative throughout, of ``high``; where it is zero on
    an interval, of that interval's lower end.

    Args:
        function: maps points of the brackets' shape to values of the same shape, elementwise non-decreasing.
        low: lower ends, any shape, finite.
        high: upper ends of the same shape, at least ``low``.
        steps: number of halvings, at least one.

    Returns:
        Midpoints of the last brackets, so each is within ``(high - low) / 2**(steps + 1)`` of the root.

    Raises:
        ValueError: if a bracket is empty, ``steps`` is below one, or the function returns NaN.

    Cost:
        ``steps`` evaluations of the function.

    Example:
        >>> import torch
        >>> bisect_root(lambda x: x**2 - 2, torch.tensor(0.0), torch.tensor(2.0), steps=22).item()
        1.41421...
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not (low <= high).all():
        raise ValueError("every bracket needs low <= high, both finite; swap the arguments?")
    for _ in range(steps):
        middle = low + (high - low) / 2
        value = function(middle)
        if value.isnan().any():
            raise ValueError("the function returned NaN inside the bracket; its sign is needed everywhere")
        below = value < 0
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low + (high - low) / 2
