"""Maps along the two axes of images as small matrices: Gaussian smoothing, zooming, averaging over boxes."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def along_axes(
    images: Float[Tensor, "*B H W"], rows: Float[Tensor, "I H"], columns: Float[Tensor, "J W"]
) -> Float[Tensor, "*B I J"]:
    """Apply one matrix along the height and another along the width.

    Args:
        images: any number of images.
        rows: what each new row is made of.
        columns: what each new column is made of.
    """
    return rows.to(images) @ images @ columns.to(images).T


def gaussian(
    images: Float[Tensor, "*B H W"], sigma: float, *, truncate: float = 4.0, mirrored: bool = False
) -> Float[Tensor, "*B H W"]:
    """Smooth images by a Gaussian cut off at ``truncate·sigma``.

    Args:
        images: any number of images.
        sigma: standard deviation in pixels.
        truncate: where the Gaussian ends, in standard deviations.
        mirrored: whether what lies beyond an edge is the mirror image, rather than the pixel at the edge repeated.
    """
    rows, columns = (gaussian_matrix(size, sigma, truncate, mirrored) for size in images.shape[-2:])
    return along_axes(images, rows, columns)


def gaussian_matrix(size: int, sigma: float, truncate: float, mirrored: bool) -> Float[Tensor, "size size"]:
    """Return the matrix that smooths one axis; its rows sum to one.

    Args:
        size: of the axis.
        sigma: as in :func:`gaussian`.
        truncate: likewise.
        mirrored: likewise.
    """
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return torch.eye(size, dtype=torch.float64)
    steps = torch.arange(-radius, radius + 1)
    weights = (-0.5 * (steps.double() / sigma).square()).exp()
    places = torch.arange(size)[:, None] + steps
    if mirrored:
        places = places.remainder(2 * size)
        places = torch.minimum(places, 2 * size - 1 - places)
    return _scattered(places.clamp(0, size - 1), (weights / weights.sum()).expand(size, -1), size)


def zoom(images: Float[Tensor, "*B H W"], factor: float) -> Float[Tensor, "*B H W"]:
    """Enlarge the centre of images by linear interpolation and keep their size.

    Args:
        images: any number of images.
        factor: at least 1.
    """
    return along_axes(images, *(zoom_matrix(size, factor) for size in images.shape[-2:]))


def zoom_matrix(size: int, factor: float) -> Float[Tensor, "size size"]:
    """Return the matrix that enlarges the centre of one axis.

    ``ceil(size/factor)`` pixels in the middle are stretched, ends onto ends, over that number times the factor, of
    which the middle is kept.

    Args:
        size: of the axis.
        factor: at least 1.
    """
    kept = math.ceil(size / factor)
    stretched = round(kept * factor)
    step = (kept - 1) / (stretched - 1) if stretched > 1 else 0.0
    places = (torch.arange(size, dtype=torch.float64) + (stretched - size) // 2) * step + (size - kept) // 2
    low = places.floor().clamp(0, size - 1)
    share = places - low
    pair = torch.stack([low, (low + 1).clamp_max(size - 1)], dim=1).long()
    return _scattered(pair, torch.stack([1 - share, share], dim=1), size)


def box_matrix(size: int, new_size: int) -> Float[Tensor, "new_size size"]:
    """Return the matrix that resizes one axis: the mean of the pixels whose centres fall into each new pixel.

    Args:
        size: of the axis.
        new_size: what it becomes; where it is larger, pixels are repeated.
    """
    step = size / new_size
    centres = (torch.arange(new_size, dtype=torch.float64) + 0.5) * step
    offsets = (torch.arange(size, dtype=torch.float64) + 0.5 - centres[:, None]) / max(1.0, step)
    inside = ((offsets > -0.5) & (offsets <= 0.5)).double()
    return inside / inside.sum(dim=1, keepdim=True)


def mirrored_index(start: int, stop: int, size: int) -> Int64[Tensor, " M"]:
    """Return positions on an axis for those from start to stop, mirrored at the centres of its outer pixels.

    Args:
        start: the first position, possibly negative.
        stop: one after the last.
        size: of the axis.
    """
    period = max(1, 2 * (size - 1))
    places = torch.arange(start, stop).remainder(period)
    return torch.minimum(places, period - places).clamp_max(size - 1)


def _scattered(places: Tensor, weights: Tensor, size: int) -> Tensor:
    """Return the matrix whose row i has the given weights at the given places; weights at one place add up."""
    return torch.zeros(len(places), size, dtype=torch.float64).scatter_add_(1, places, weights)
