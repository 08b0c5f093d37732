"""How far the centre of mass of a map has moved, as used by Ghorbani, Abid and Zou (2019)."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import method
from trueline.explain._fragile import FRAGILE
from trueline.explain._map_pairs import magnitude, paired_rows, undefined_where


@method(FRAGILE, cost="one pass over both maps")
def centre_shift(first: Float[Tensor, "N *map"], second: Float[Tensor, "N *map"]) -> Float[Tensor, " N"]:
    """Return the distance between the centres of mass of two maps of an image.

    ``‖c(a) - c(b)‖`` with ``c(e) = Σ_p |e_p|·p / Σ_p |e_p|`` over the pixels p, where channels are summed as by
    :func:`magnitude`.

    Args:
        first: (N, H, W) or (N, C, H, W) maps.
        second: maps of the same samples and the same shape.

    Returns:
        (N,) in pixels, from 0 to the diagonal, float64; NaN where a map is zero everywhere, since it has no centre.

    Raises:
        ValueError: if shapes differ, maps are not of images, or a map is not finite.
        TypeError: if a batch is not floating point.

    Example:
        >>> left, right = torch.zeros(2, 1, 3, 3)
        >>> left[0, 0, 0], right[0, 2, 1] = 1, 5
        >>> centre_shift(left, right).item() ** 2
        5.000000000000001
    """
    paired_rows(first, second)
    check_images(first, "centre_shift")
    one, other = (magnitude(maps.detach().double()) for maps in (first, second))
    zero = (one.flatten(1).sum(dim=1) == 0) | (other.flatten(1).sum(dim=1) == 0)
    return undefined_where(torch.linalg.vector_norm(centre(one) - centre(other), dim=1), zero)


def centre(sizes: Float[Tensor, "N H W"]) -> Float[Tensor, "N 2"]:
    """Return the centre of mass of each map, row before column, in pixels; can be differentiated.

    Args:
        sizes: (N, H, W), none negative.
    """
    total = sizes.sum(dim=(1, 2)).clamp(min=torch.finfo(sizes.dtype).tiny)
    places = [torch.arange(n, dtype=sizes.dtype, device=sizes.device) for n in sizes.shape[1:]]
    rows, columns = (sizes.sum(dim=2) * places[0]).sum(dim=1), (sizes.sum(dim=1) * places[1]).sum(dim=1)
    return torch.stack([rows / total, columns / total], dim=1)


def check_images(maps: Float[Tensor, "N *map"], purpose: str) -> None:
    """Refuse maps that have no rows and columns.

    Args:
        maps: must be (N, H, W) or (N, C, H, W).
        purpose: what needs them.

    Raises:
        ValueError: if they are not.
    """
    if maps.ndim not in (3, 4):
        raise ValueError(f"{purpose} needs maps of images, (N, H, W) or (N, C, H, W), got shape {tuple(maps.shape)}")
