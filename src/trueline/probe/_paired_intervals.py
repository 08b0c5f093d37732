"""Intervals of what N samples lose in one or several random draws."""

import math

from jaxtyping import Float
from torch import Tensor

from trueline.numerics import Interval, mean_interval

_NORMAL = 1.959963984540054  # the 97.5 % quantile


def drop_interval(lost: Float[Tensor, "N draws"]) -> Interval:
    """Return the mean of paired differences of hits and its 95 % interval by Agresti and Min (2005).

    With several draws the half-widths over samples and over draws are added in squares.

    Args:
        lost: (N, draws) differences in [-1, 1]; half a sample is added to each of the four outcomes of a pair of hits.
    """
    each = lost.mean(dim=1)
    samples = len(each) + 2
    centre = each.sum().item() / samples
    variance = (each.square().sum().item() + 1 - samples * centre**2) / samples**2
    half = math.hypot(_NORMAL * math.sqrt(variance), _half_over_draws(lost))
    return Interval(each.mean().item(), max(-1.0, centre - half), min(1.0, centre + half))


def rise_interval(risen: Float[Tensor, "N draws"]) -> Interval:
    """Return the mean of paired differences of losses and its 95 % Student interval; infinite for one sample.

    With several draws the half-widths over samples and over draws are added in squares.

    Args:
        risen: (N, draws) differences.
    """
    each = risen.mean(dim=1)
    value = each.mean().item()
    if len(each) == 1:
        return Interval(value, -math.inf, math.inf)
    half = math.hypot(mean_interval(each)[2] - value, _half_over_draws(risen))
    return Interval(value, value - half, value + half)


def _half_over_draws(values: Tensor) -> float:
    """Return half the Student interval of the draws' means; 0 for a single replacement, which is no draw."""
    if values.shape[1] == 1:
        return 0.0
    value, _, high = mean_interval(values.mean(dim=0))
    return high - value
