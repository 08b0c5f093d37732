"""A value and its uncertainty."""

from dataclasses import dataclass


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
