"""Means over samples with right labels and with wrong ones, and their difference."""

import math
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from trueline.numerics import Interval, student_quantile


@dataclass(frozen=True)
class CleanAndNoisy:
    """Means over the samples whose label is right and over those whose label is wrong.

    Args:
        clean: mean where the label is right, with its 95 % Student interval; None if there is no such sample.
        noisy: likewise where it is wrong.
        difference: noisy minus clean, with Welch's 95 % interval; None if either is.
    """

    clean: Interval | None
    noisy: Interval | None
    difference: Interval | None


def clean_and_noisy(values: Float[Tensor, " N"], noisy: Bool[Tensor, " N"]) -> CleanAndNoisy:
    """Return the means of values over the two groups of samples, and their difference.

    Args:
        values: (N,) one a sample.
        noisy: (N,) which labels are wrong.
    """
    groups = values[~noisy], values[noisy]
    clean, wrong = (mean_if_any(group) for group in groups)
    if clean is None or wrong is None:
        return CleanAndNoisy(clean, wrong, None)
    gap, half = wrong.value - clean.value, math.inf
    if min(len(group) for group in groups) > 1:
        # Welch: the variances of the two means add, and the degrees of freedom follow from their shares.
        errors = [group.double().var().item() / len(group) for group in groups]
        squares = sum(error**2 / (len(group) - 1) for error, group in zip(errors, groups, strict=True))
        freedom = int(sum(errors) ** 2 / squares) if squares > 0 else 1
        half = student_quantile(0.975, max(1, freedom)) * math.sqrt(sum(errors))
    return CleanAndNoisy(clean, wrong, Interval(gap, gap - half, gap + half))


def mean_if_any(values: Float[Tensor, " N"]) -> Interval | None:
    """Return the mean and its 95 % Student interval, infinite for one value; None for no value.

    Args:
        values: (N,) one a sample.
    """
    return Interval.of_mean(values) if len(values) else None
