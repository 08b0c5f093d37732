"""Mean and variance of the channels of values that come in parts."""

import torch
from jaxtyping import Float
from torch import Tensor


class ChannelMoments:
    """Count, mean and variance of each channel, as batch norm keeps them, over all parts together.

    Parts are summed in double precision about their own means, and each joins the others by
    ``M2 = M2_a + M2_b + (mean_b - mean_a)²·n_a·n_b/(n_a + n_b)`` for the sums of squares about the mean: values far
    from zero lose nothing, and how they are cut into parts does not matter.

    Attributes:
        count: values per channel so far.
        mean: (C,) of the values so far, float64; 0 before the first part.

    Example:
        >>> moments = ChannelMoments()
        >>> for part in (torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0], [5.0]])):
        ...     moments.add(part)
        >>> moments.count, moments.mean.item(), moments.variance().item()
        (5, 3.0, 2.5)
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)  # sum of squared distances from the mean

    def add(self, values: Float[Tensor, "N C *shape"]) -> None:
        """Take in one part.

        Args:
            values: (N, C, ...), at least one per channel.
        """
        count = values.numel() // max(values.shape[1], 1)
        variance, mean = torch.var_mean(values.double(), dim=[0, *range(2, values.ndim)], correction=0)
        total = self.count + count
        shift = mean - self.mean
        self._squares = self._squares + variance * count + shift.square() * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    def variance(self) -> Float[Tensor, " C"]:
        """Return the unbiased variance ``M2/(n - 1)`` of each channel, float64.

        Raises:
            ValueError: if there are fewer than two values per channel.
        """
        if self.count < 2:
            raise ValueError(f"a variance needs at least two values per channel, got {self.count}")
        return self._squares / (self.count - 1)
