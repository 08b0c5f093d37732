"""The root of an increasing function by Newton's method, which falls back on bisection and so cannot fail."""

import math
from collections.abc import Callable


def newton_root(
    function: Callable[[float], tuple[float, float]],
    low: float,
    high: float,
    *,
    start: float,
    tolerance: float = 1e-12,
    steps: int = 200,
) -> float:
    """Return where a non-decreasing function changes sign inside a bracket.

    A Newton step is taken where it stays in the bracket and the one before at least halved the distance it moved; else
    the bracket is halved. Near a simple root the digits that are right double with every step. A function that has
    one sign throughout leads to the end of the bracket where it is nearest to zero.

    Args:
        function: returns value and derivative at a point; the value must not decrease.
        low: lower end of the bracket.
        high: upper end, at least ``low``.
        start: where to begin, inside the bracket.
        tolerance: stop once a step moves by no more.
        steps: evaluations after which the search ends anyway; halving alone would then be exact.

    Returns:
        The root, to about ``tolerance``.

    Raises:
        ValueError: if the start is not in the bracket, or the function returns NaN.

    Cost:
        Five to ten evaluations for smooth functions.

    Example:
        >>> round(newton_root(lambda x: (x * x - 2, 2 * x), 0.0, 2.0, start=1.0), 12)
        1.414213562373
    """
    if not low <= start <= high:
        raise ValueError(f"expected low <= start <= high, got {low}, {start}, {high}")
    point, before = start, high - low
    for _ in range(steps):
        value, slope = function(point)
        if math.isnan(value):
            raise ValueError(f"the function returned NaN at {point}; its sign is needed everywhere")
        if value == 0:
            return point
        low, high = (point, high) if value < 0 else (low, point)
        step = -value / slope if slope > 0 else math.inf
        if not low < point + step < high or abs(step) > before / 2:
            step = (low + high) / 2 - point
        point, before = point + step, abs(step)
        if before <= tolerance:
            break
    return point
