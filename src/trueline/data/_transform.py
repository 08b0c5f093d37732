"""From stored pixels to network inputs, for a whole batch at once on its device."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Int64, Shaped
from torch import Tensor

from trueline.contracts import Reference, method


class Draws(NamedTuple):
    """The random choices for one view of a batch, a row each; None where the transform makes no such choice.

    ``corner`` (B, 2): top and left of the crop in the padded image. ``flipped`` (B,). ``hole`` (B, 2): row and column
    at the centre of the cutout. ``noise`` (B, ...): standard normal numbers of the inputs' shape.
    """

    corner: Int64[Tensor, "B 2"] | None
    flipped: Bool[Tensor, " B"] | None
    hole: Int64[Tensor, "B 2"] | None
    noise: Float32[Tensor, "B *shape"] | None

    def select(self, rows: slice) -> "Draws":
        """Return the choices of some rows."""
        return Draws(*(None if choice is None else choice[rows] for choice in self))

    def to(self, device: torch.device | str) -> "Draws":
        """Return the choices on another device."""
        return Draws(*(None if choice is None else choice.to(device) for choice in self))


@method(
    Reference(
        "Terrance DeVries, Graham W. Taylor",
        "Improved Regularization of Convolutional Neural Networks with Cutout",
        "arXiv",
        2017,
        arxiv="1708.04552",
    ),
    cost="a few passes over the inputs of a step; no loop over samples",
)
@dataclass(frozen=True)
class Transform:
    """Scale, crop, mirror, normalise, cut out and blur with noise, in this order.

    uint8 inputs are divided by ``value_range``; float inputs are taken as they are. Cropping pads with zeros (black
    pixels, the usual choice for CIFAR) and cuts the original size out at a random corner. Mirroring swaps left and
    right with probability one half. Normalising gives ``(x - mean) / std``. The cutout is a square around a random
    pixel, clipped at the border and filled with zeros, the mean after normalising. The noise is added last.

    Args:
        mean: one value per channel (axis 1 of the inputs), in units of the scaled inputs; see :func:`normalisation`.
        std: one value above 0 per channel.
        pad: pixels on each side before the crop; 0 does not crop.
        flip: mirror half of the images.
        cutout: side of the square in pixels; 0 cuts nothing.
        noise: standard deviation of the noise, in units of the normalised inputs.

    Raises:
        ValueError: if an option is out of range.

    Example:
        >>> transform = Transform(mean=(0.5,), std=(0.5,), flip=True)
        >>> images = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
        >>> choices = transform.draw(1, (1, 1, 2), generator=torch.Generator())._replace(flipped=torch.tensor([True]))
        >>> transform.apply(images, choices)
        tensor([[[[ 1., -1.]]]])
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad: int = 0
    flip: bool = False
    cutout: int = 0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(
                f"mean and std need one value per channel, got {len(self.mean)} and {len(self.std)} values"
            )
        if not all(math.isfinite(value) for value in self.mean):
            raise ValueError(f"mean must be finite, got {self.mean}")
        if not all(0 < value < math.inf for value in self.std):
            raise ValueError(f"std must be finite and above 0, got {self.std}; use 1 for a constant channel")
        for name in ("pad", "cutout", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")

    def draw(self, size: int, input_shape: tuple[int, ...], *, generator: torch.Generator) -> Draws:
        """Draw the random choices for one view of ``size`` inputs.

        Args:
            size: B of the whole step, over all processes.
            input_shape: shape of one input, (C, H, W) wherever the transform moves pixels.
            generator: CPU generator, so that every device sees the same choices.

        Returns:
            The choices, on the CPU.

        Raises:
            ValueError: if the shape does not fit the transform.
        """
        self._check_shape(input_shape)
        height, width = input_shape[1:] if len(input_shape) == 3 else (1, 1)
        corner = flipped = hole = noise = None
        if self.pad:
            corner = torch.randint(2 * self.pad + 1, (size, 2), generator=generator)
        if self.flip:
            flipped = torch.randint(2, (size,), generator=generator) == 1
        if self.cutout:
            rows = torch.randint(height, (size,), generator=generator)
            columns = torch.randint(width, (size,), generator=generator)
            hole = torch.stack([rows, columns], dim=1)
        if self.noise:
            noise = torch.randn(size, *input_shape, generator=generator)
        return Draws(corner, flipped, hole, noise)

    def apply(
        self, inputs: Shaped[Tensor, "B *shape"], draws: Draws, *, value_range: float = 255.0
    ) -> Float32[Tensor, "B *shape"]:
        """Transform a batch with given choices; nothing here is random.

        Args:
            inputs: (B, ...) uint8 or float32, left as they are.
            draws: B choices on the inputs' device.
            value_range: uint8 inputs are divided by this.

        Returns:
            (B, ...) float32 of the same shape.
        """
        self._check_shape(tuple(inputs.shape[1:]))
        if draws.corner is not None:
            inputs = _crop(inputs, self.pad, draws.corner)
        if draws.flipped is not None:
            inputs = _mirror(inputs, draws.flipped)
        scale = 1.0 / value_range if inputs.dtype == torch.uint8 else 1.0
        per_channel = (-1, *(1,) * (inputs.ndim - 2))
        factor = torch.tensor([scale / std for std in self.std], device=inputs.device).view(per_channel)
        offset = torch.tensor([mean / std for mean, std in zip(self.mean, self.std, strict=True)], device=inputs.device)
        # two plain passes round alike wherever a sample lies in the batch; a fused one need not
        values = inputs.to(torch.float32, copy=True).mul_(factor).sub_(offset.view(per_channel))
        if draws.hole is not None:
            values.masked_fill_(_square(draws.hole, self.cutout, values.shape[2], values.shape[3])[:, None], 0.0)
        if draws.noise is not None:
            values.add_(draws.noise, alpha=self.noise)
        return values

    def _check_shape(self, input_shape: tuple[int, ...]) -> None:
        if len(input_shape) != 3 and (self.pad or self.flip or self.cutout):
            raise ValueError(f"pad, flip and cutout need inputs of shape (C, H, W), got {input_shape}; set them to 0")
        if input_shape[0] != len(self.mean):
            raise ValueError(
                f"mean and std have {len(self.mean)} channels, but inputs have shape {input_shape}; "
                "take them from normalisation(train)"
            )


def _crop(images: Tensor, pad: int, corner: Tensor) -> Tensor:
    padded = F.pad(images, (pad, pad, pad, pad))
    size, channels, height, width = images.shape
    rows, columns = padded.shape[2:]
    # from its first to its last pixel a crop is one run of the padded image, which is copied as a whole
    length = ((channels - 1) * rows + height - 1) * columns + width
    starts = torch.arange(size, device=images.device) * (channels * rows * columns)
    starts = starts + corner[:, 0] * columns + corner[:, 1]
    runs = padded.flatten().unfold(0, length, 1).index_select(0, starts)
    return runs.as_strided(images.shape, (length, rows * columns, columns, 1)).contiguous()


def _mirror(images: Tensor, flipped: Tensor) -> Tensor:
    both = torch.cat([images, images.flip(3)])
    return both.index_select(0, torch.arange(len(images), device=images.device) + len(images) * flipped)


def _square(centre: Tensor, side: int, height: int, width: int) -> Tensor:
    top, left = (centre - side // 2).unbind(dim=1)
    rows = torch.arange(height, device=centre.device) - top[:, None]
    columns = torch.arange(width, device=centre.device) - left[:, None]
    return ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
