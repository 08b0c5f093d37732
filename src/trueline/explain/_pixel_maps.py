"""One number for each pixel, from attributions with channels."""

from jaxtyping import Float
from torch import Tensor


def pixel_maps(maps: Float[Tensor, "N ..."], *, absolute: bool = False) -> Float[Tensor, "N H W"]:
    """Return the sum of attributions over channels: ``Σ_c e_c``, or ``Σ_c |e_c|``.

    With their sign, channels that speak for and against a class cancel, as they do in the score; absolute values say
    how much a pixel counts for either.

    Args:
        maps: (N, C, H, W), where axis 1 is the channel; or (N, H, W), which have none to sum over.
        absolute: whether to take absolute values first.

    Returns:
        (N, H, W), in the units of the maps.

    Raises:
        ValueError: if the maps are not those of images.
        TypeError: if they are not floating point.

    Example:
        >>> import torch
        >>> maps = torch.tensor([1.0, -3.0]).view(1, 2, 1, 1)
        >>> pixel_maps(maps).item(), pixel_maps(maps, absolute=True).item()
        (-2.0, 4.0)
    """
    if not maps.is_floating_point():
        raise TypeError(f"maps must be floating point, got {maps.dtype}; convert with maps.float()")
    if maps.ndim not in (3, 4):
        raise ValueError(
            f"maps must be those of images, (N, C, H, W) or (N, H, W), got {tuple(maps.shape)}; attributions of other "
            "inputs have no pixels"
        )
    values = maps.abs() if absolute else maps
    return values.sum(dim=1) if maps.ndim == 4 else values
