"""What a corruption knows beside its images: the constants that apply, the scale of lengths, and its own draws."""

from collections.abc import Sequence
from functools import cached_property
from typing import TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Constant = TypeVar("Constant")

LARGE = 100  # pixels of the shorter side from which the constants for large images apply
_SMALL_SIDE, _LARGE_SIDE = 32, 224  # the sizes that the two sets of constants were published for


class Setting:
    """One severity at one image size, with a source of randomness for every image.

    Each image draws from a generator of its own, seeded by the next number of the caller's. So a batch that is cut in
    two is corrupted as the whole, and a GPU sees the draws of the CPU.

    Args:
        severity: 1 to 5.
        height: of the images, in pixels.
        width: likewise.
        seeds: one per image.
    """

    def __init__(self, severity: int, height: int, width: int, seeds: Sequence[int]) -> None:
        self.severity, self.seeds = severity, seeds
        side = min(height, width)
        self.large = side >= LARGE
        self.relative_size = side / (_LARGE_SIDE if self.large else _SMALL_SIDE)

    def pick(self, small: Sequence[Constant], large: Sequence[Constant]) -> Constant:
        """Return the constant of this severity.

        Args:
            small: those published for images of 32 pixels.
            large: those published for images of 224 pixels.
        """
        return (large if self.large else small)[self.severity - 1]

    def pixels(self, length: float) -> float:
        """Return a published length in pixels of these images: it grows with the image, and never shrinks.

        Args:
            length: as published, for 32 or 224 pixels.
        """
        return length * max(1.0, self.relative_size)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Float[Tensor, "B *shape"]:
        """Draw uniform numbers for each image.

        Args:
            *shape: how many for one image.
            low: lower end.
            high: upper end.
        """
        drawn = torch.stack([torch.rand(shape, generator=each) for each in self._generators])
        return low + (high - low) * drawn

    def normal(self, *shape: int) -> Float[Tensor, "B *shape"]:
        """Draw standard normal numbers for each image.

        Args:
            *shape: how many for one image.
        """
        return torch.stack([torch.randn(shape, generator=each) for each in self._generators])

    def integers(self, low: int, high: int, *shape: int) -> Int64[Tensor, "B *shape"]:
        """Draw whole numbers for each image.

        Args:
            low: the lowest.
            high: one above the highest.
            *shape: how many for one image.
        """
        return torch.stack([torch.randint(low, high, shape, generator=each) for each in self._generators])

    def poisson(self, rates: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
        """Draw Poisson counts.

        Args:
            rates: the mean of each count, on any device.
        """
        pairs = zip(rates.cpu(), self._generators, strict=True)
        return torch.stack([torch.poisson(rate, generator=each) for rate, each in pairs])

    @cached_property
    def _generators(self) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in self.seeds]
