"""Where many increasing functions reach wanted values, by Newton steps that fall back on bisection."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

_STEPS = 100


def invert_increasing(
    function: Callable[[Float[Tensor, "*shape"]], tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]],
    target: Float[Tensor, "*#shape"],
    low: Float[Tensor, "*shape"],
    high: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    """Return, entry by entry, where non-decreasing functions cross their targets inside a bracket.

    A Newton step is taken where it stays in the bracket and the step before at least halved; else the bracket is
    halved.

    Args:
        function: returns values and derivatives at points, entry by entry.
        target: wanted values.
        low: lower ends of the brackets, where a function is at most its target.
        high: upper ends, where it is at least that. Equal ends, also infinite ones, are the answer.

    Returns:
        The points, to the rounding of the bracket; without a gradient.
    """
    with torch.no_grad():
        settled = low == high
        answer = torch.where(settled, low, 0)
        low, high = torch.where(settled, 0, low), torch.where(settled, 0, high)
        point, before = (low + high) / 2, high - low
        tolerance, reach = 4 * torch.finfo(point.dtype).eps, high - low
        for _ in range(_STEPS):
            value, slope = function(point)
            below = value < target
            low, high = torch.where(below, point, low), torch.where(below, high, point)
            newton = (target - value) / slope
            usable = (slope > 0) & (point + newton > low) & (point + newton < high) & (newton.abs() <= before / 2)
            step = torch.where(usable, newton, (low + high) / 2 - point)
            point, before = point + step, step.abs()
            if (before <= tolerance * (point.abs() + reach)).all():
                break
        return torch.where(settled, answer, point)
