"""Small random changes of an image's brightness, contrast and saturation."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601


@dataclass(frozen=True)
class ColourJitter:
    """A change of brightness, contrast and saturation, each by a factor; a linear map of the image.

    Each operation draws the image towards another, ``factor·x + (1 - factor)·other``: black for brightness, the mean
    grey of the image for contrast, the grey of each pixel for saturation. Values are not clipped, so that white moves
    as far as the factors say; the operations then commute, and have no order. Images of one channel have no saturation
    to change; the grey of images of other than three channels is the mean of the channels.

    Args:
        brightness: factor, 1 for no change.
        contrast: likewise.
        saturation: likewise.

    Example:
        >>> ColourJitter(brightness=0.5, contrast=1.0, saturation=1.0)(torch.ones(1, 3, 1, 1)).flatten()
        tensor([0.5000, 0.5000, 0.5000])
    """

    brightness: float
    contrast: float
    saturation: float

    def __call__(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the changed images.

        Args:
            images: (B, C, H, W), where 0 is black.
        """
        bright = self.brightness * images
        grey = _grey(bright)
        coloured = self.saturation * bright + (1 - self.saturation) * grey
        return self.contrast * coloured + (1 - self.contrast) * grey.mean(dim=(-2, -1), keepdim=True)


def draw_colour_jitters(count: int, generator: torch.Generator, *, strength: float = 0.01) -> list[ColourJitter]:
    """Return random jitters, whose factors are uniform in ``[1 - strength, 1 + strength]``.

    Args:
        count: how many.
        generator: draws them.
        strength: largest change.
    """
    draws = torch.rand(count, 3, generator=generator, device=generator.device, dtype=torch.float64)
    factors = 1 + strength * (2 * draws - 1)
    return [ColourJitter(brightness, contrast, saturation) for brightness, contrast, saturation in factors.tolist()]


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] != len(_LUMA):
        return images.mean(dim=1, keepdim=True)
    return (images * images.new_tensor(_LUMA).view(-1, 1, 1)).sum(dim=1, keepdim=True)
