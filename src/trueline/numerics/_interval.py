"""A value and its uncertainty."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from trueline.numerics._student import mean_interval


@dataclass(frozen=True)
class Interval:
    """A value measured on a sample and its 95 % interval.

    Args:
        value: the value on the sample itself.
        low: lower end; minus infinity where the samples are too few to tell.
        high: upper end; infinity where they are too few.
    """

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the sign of the value is beyond noise."""
        return self.low > 0 or self.high < 0

    @staticmethod
    def of_mean(values: Float[Tensor, " N"]) -> "Interval":
        """Return the mean of a sample and its 95 % Student interval, infinite for a single value.

        Args:
            values: (N,) at least one.

        Example:
            >>> import torch
            >>> Interval.of_mean(torch.tensor([2.0]))
            Interval(value=2.0, low=-inf, high=inf)
        """
        if len(values) == 1:
            return Interval(values.item(), -math.inf, math.inf)
        return Interval(*mean_interval(values))
