"""Pictures of samples, in the layouts that people keep them in."""

from collections.abc import Callable

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from trueline.predictions._stored_array import FLOATS, StoredArray

_FIRST = (1, 3)  # numbers of channels, where they come before the pixels
_LAST = (1, 3, 4)

Pictures = Callable[[Int64[Tensor, " K"]], UInt8[Tensor, "K channels H W"]]


def read_images(images: StoredArray, num_samples: int) -> tuple[Pictures, tuple[str, ...]]:
    """Tell rows from columns and channels, and fetch pictures when they are asked for.

    Args:
        images: (N, H, W), (N, H, W, 1), (N, H, W, 3), (N, H, W, 4), (N, 1, H, W) or (N, 3, H, W) pixels; uint8, or
            floating point in [0, 1].
        num_samples: the number N of samples.

    Returns:
        A function from rows to uint8 pictures with 1 or 3 channels, and notes. It raises a ValueError if pixels leave
        [0, 1].

    Raises:
        ValueError: if the shape is none of these, or could be two of them.
        TypeError: if the pixels are neither uint8 nor floating point.
    """
    shape = images.shape
    if not shape or shape[0] != num_samples:
        raise ValueError(f"images must hold {num_samples} pictures to match the labels, got shape {shape}")
    if images.dtype not in ("uint8", *FLOATS):
        raise TypeError(f"images must be uint8, or floating point in [0, 1], got {images.dtype}")
    last = _channels_last(shape)
    notes = ("Pictures have four channels; the last, transparency, is left out.",) if last and shape[3] == 4 else ()

    def pictures(rows: Int64[Tensor, " K"]) -> UInt8[Tensor, "K channels H W"]:
        pixels = images.take(rows)
        if pixels.ndim == 3:
            pixels = pixels[:, None]
        elif last:
            pixels = pixels[..., :3].movedim(3, 1)
        if pixels.dtype == torch.uint8:
            return pixels
        low, high = (value.item() for value in pixels.aminmax()) if pixels.numel() else (0.0, 1.0)
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"images in floating point must lie in [0, 1], got values from {low:.4g} to {high:.4g}; "
                "undo the normalisation, or give uint8"
            )
        return (pixels.double() * 255).round().to(torch.uint8)

    return pictures, notes


def _channels_last(shape: tuple[int, ...]) -> bool:
    first, last = len(shape) == 4 and shape[1] in _FIRST, len(shape) == 4 and shape[3] in _LAST
    if first and last:
        raise ValueError(
            f"images of shape {shape} could have their channels first or last; give pictures whose height and width "
            "are not 1, 3 or 4"
        )
    if not (first or last or len(shape) == 3) or 0 in shape:
        raise ValueError(
            f"images must have shape (N, H, W), (N, H, W, channels) or (N, channels, H, W) with 1 or 3 channels, "
            f"got {shape}"
        )
    return last
