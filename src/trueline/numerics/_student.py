"""Quantiles of Student's t distribution and the interval of a mean, for the few runs of a claim."""

import math

from jaxtyping import Float
from torch import Tensor


def student_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution with a whole number of degrees of freedom.

    The distribution function is a finite sum in the angle ``atan(t / sqrt(freedom))``; it is inverted by bisection.

    Args:
        probability: in (0, 1).
        freedom: degrees of freedom, at least 1.

    Returns:
        t with ``P(T <= t) = probability``, to about 1e-12 relative.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> round(student_quantile(0.975, 2), 4)
        4.3027
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability must lie strictly between 0 and 1, got {probability}")
    if freedom < 1:
        raise ValueError(f"freedom must be at least 1, got {freedom}; an interval needs two or more values")
    central = abs(2 * probability - 1)
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_mass(middle, freedom) < central else (low, middle)
    return math.copysign(math.sqrt(freedom) * math.tan(low), probability - 0.5)


def mean_interval(values: Float[Tensor, " N"], *, level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of independent values and its t interval.

    ``mean ± t · s / sqrt(N)`` with the quantile t of N - 1 degrees of freedom.

    Args:
        values: (N,) independent values, N at least 2.
        level: probability that such an interval covers the true mean, if the values are normal.

    Returns:
        The mean, the lower and the upper end.

    Raises:
        ValueError: if there are fewer than two values.

    Example:
        >>> import torch
        >>> [round(value, 3) for value in mean_interval(torch.tensor([1.0, 2.0, 3.0]))]
        [2.0, -0.484, 4.484]
    """
    if len(values) < 2:
        raise ValueError(f"an interval needs at least two values, got {len(values)}; run more seeds")
    values = values.double()
    mean, error = values.mean().item(), values.std().item() / math.sqrt(len(values))
    half = student_quantile((1 + level) / 2, len(values) - 1) * error
    return mean, mean - half, mean + half


def _central_mass(angle: float, freedom: int) -> float:
    """Return P(|T| <= sqrt(freedom) tan(angle))."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = (cosine if freedom > 1 else 0.0) if odd else 1.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= (k - 1) / k * cosine * cosine
        total += term
    return (angle + sine * total) * 2 / math.pi if odd else sine * total
