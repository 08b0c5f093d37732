"""What takes the place of a removed entry."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


class Baseline(ABC):
    """What a sample's entries are replaced by.

    A subclass is a frozen dataclass of its settings. Where it draws random numbers, a setting ``seed`` fixes them, and
    they are the same for every sample, so that a score depends neither on the other samples nor on chunks.
    """

    @abstractmethod
    def replacement(self, inputs: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
        """Return each sample with all of its entries replaced.

        Args:
            inputs: (B, ...) samples.
        """


@dataclass(frozen=True)
class ConstantBaseline(Baseline):
    """The same number everywhere; 0 is the mean of data that were normalised, and black of those that were not.

    Args:
        value: finite, in the unit of the input.

    Raises:
        ValueError: if the value is not finite.

    Example:
        >>> ConstantBaseline(0.5).replacement(torch.ones(1, 3)).tolist()
        [[0.5, 0.5, 0.5]]
    """

    value: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"value must be finite, got {self.value}")

    def replacement(self, inputs: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
        """Return the number in the inputs' shape."""
        return torch.full_like(inputs, self.value)


@dataclass(frozen=True, eq=False)
class MeanBaseline(Baseline):
    """The mean of data, entry by entry, or over all pixels of a channel.

    Args:
        data: (M, ...) samples, such as those of the training set.
        by_channel: one mean for each channel, the first axis of a sample.

    Raises:
        ValueError: if there are no data, or they are not finite, or a mean by channel is asked for of a table.

    Example:
        >>> MeanBaseline(torch.tensor([[0.0, 2.0], [1.0, 4.0]])).replacement(torch.zeros(1, 2)).tolist()
        [[0.5, 3.0]]
    """

    data: Float[Tensor, "M *shape"] = field(repr=False)
    by_channel: bool = False
    _mean: Float[Tensor, "1 ..."] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_data(self.data)
        if self.by_channel and self.data.ndim < 3:
            raise ValueError(f"data of shape {tuple(self.data.shape)} have no channels; use by_channel=False")
        axes = (0, *range(2, self.data.ndim)) if self.by_channel else (0,)
        object.__setattr__(self, "_mean", self.data.detach().double().mean(dim=axes, keepdim=True))

    def replacement(self, inputs: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
        """Return the mean in the inputs' shape."""
        _check_fits(self.data, inputs)
        return self._mean.to(inputs).expand_as(inputs)


@dataclass(frozen=True)
class BlurBaseline(Baseline):
    """The image itself, out of focus: a Gaussian mean of the pixels around, of those that exist at its border.

    Args:
        sigma: standard deviation of the Gaussian, in pixels.
        size: side of the square over which the mean is taken, odd.

    Raises:
        ValueError: if a setting is out of range.

    Example:
        >>> image = torch.full((1, 1, 8, 8), 0.25)
        >>> torch.allclose(BlurBaseline().replacement(image), image)
        True
    """

    sigma: float = 5.0
    size: int = 11

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma must be positive and finite, got {self.sigma}")
        if self.size < 1 or self.size % 2 == 0:
            raise ValueError(f"size must be odd and at least 1, got {self.size}")

    def replacement(self, inputs: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
        """Return the blurred images.

        Args:
            inputs: (B, C, H, W).

        Raises:
            ValueError: if they are no images.
        """
        if inputs.ndim != 4:
            raise ValueError(f"only images (N, C, H, W) can be blurred, got {tuple(inputs.shape)}; use MeanBaseline")
        offset = torch.arange(self.size, dtype=torch.float64, device=inputs.device) - self.size // 2
        kernel = (-(offset / self.sigma).square() / 2).exp()
        images = inputs.double().flatten(0, 1)[:, None]
        inside = torch.ones_like(images[:1])
        for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
            line = kernel.view(shape)
            padding = tuple(side // 2 for side in line.shape[2:])
            images = F.conv2d(images, line, padding=padding) / F.conv2d(inside, line, padding=padding)
        return images.view_as(inputs).to(inputs.dtype)


@dataclass(frozen=True)
class NoiseBaseline(Baseline):
    """Uniform noise, one draw, the same for every sample.

    Args:
        low: smallest value, in the unit of the input.
        high: largest value.
        seed: of the draw.

    Raises:
        ValueError: if the range is empty or not finite.

    Example:
        >>> drawn = NoiseBaseline(high=0.1).replacement(torch.ones(2, 4))
        >>> bool((drawn < 0.1).all()), torch.equal(drawn[0], drawn[1])
        (True, True)
    """

    low: float = 0.0
    high: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low and high must be finite with low < high, got {self.low} and {self.high}")

    def replacement(self, inputs: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
        """Return the noise in the inputs' shape."""
        drawn = torch.rand(inputs.shape[1:], generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)
        return (self.low + (self.high - self.low) * drawn).to(inputs).expand_as(inputs)


@dataclass(frozen=True, eq=False)
class SampleBaseline(Baseline):
    """Another sample, drawn from data, the same for every sample.

    Args:
        data: (M, ...) samples to draw from.
        seed: of the draw.

    Raises:
        ValueError: if there are no data, or they are not finite.

    Example:
        >>> SampleBaseline(torch.tensor([[3.0, 4.0]])).replacement(torch.zeros(2, 2)).tolist()
        [[3.0, 4.0], [3.0, 4.0]]
    """

    data: Float[Tensor, "M *shape"] = field(repr=False)
    seed: int = 0

    def __post_init__(self) -> None:
        _check_data(self.data)

    def replacement(self, inputs: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
        """Return the drawn sample in the inputs' shape."""
        _check_fits(self.data, inputs)
        place = int(torch.randint(len(self.data), (), generator=torch.Generator().manual_seed(self.seed)))
        return self.data[place].detach().to(inputs).expand_as(inputs)


def as_baseline(baseline: Any) -> Baseline:
    """Return a baseline for a baseline or a number.

    Args:
        baseline: either.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(baseline, Baseline):
        return baseline
    if isinstance(baseline, int | float) and not isinstance(baseline, bool):
        return ConstantBaseline(float(baseline))
    raise TypeError(f"baseline must be a Baseline or a number, got {type(baseline).__name__}")


def replaced(baseline: Baseline, inputs: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
    """Return a baseline's replacement of the inputs after checking that it is one.

    Args:
        baseline: any.
        inputs: (B, ...) samples.

    Raises:
        ValueError: if its shape or dtype is another, or it is not finite.
    """
    found = baseline.replacement(inputs)
    if found.shape != inputs.shape or found.dtype != inputs.dtype:
        raise ValueError(
            f"{type(baseline).__name__} must replace inputs by {tuple(inputs.shape)} of {inputs.dtype}, got "
            f"{tuple(found.shape)} of {found.dtype}"
        )
    if not found.isfinite().all():
        raise ValueError(f"{type(baseline).__name__} must replace inputs by finite numbers")
    return found


def _check_data(data: Tensor) -> None:
    if data.ndim < 2 or data.numel() == 0:
        raise ValueError(f"data must have shape (M, ...) with M >= 1, got {tuple(data.shape)}")
    if not data.isfinite().all():
        raise ValueError("data must be finite; leave out the samples that are not")


def _check_fits(data: Tensor, inputs: Tensor) -> None:
    if data.shape[1:] != inputs.shape[1:]:
        raise ValueError(
            f"the baseline's data are samples of {tuple(data.shape[1:])}, but the inputs' are of "
            f"{tuple(inputs.shape[1:])}"
        )
