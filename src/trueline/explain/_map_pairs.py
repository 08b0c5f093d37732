"""What every comparison of two batches of maps asks of them."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def magnitude(maps: Float[Tensor, "N *map"]) -> Float[Tensor, "N *sizes"]:
    """Return how much each entry of a map counts, whatever its sign: one number a pixel for images.

    ``|e|``, of (N, C, H, W) maps summed over the channels. Maps of any other shape, such as (N, H, W) or (N, D), keep
    it.

    Args:
        maps: (N, ...) attributions.

    Returns:
        (N, H, W) where maps are (N, C, H, W), else (N, ...), in the dtype of the maps.

    Example:
        >>> magnitude(torch.tensor([[[[1.0, -2.0]], [[-3.0, 0.5]]]]))
        tensor([[[4.0000, 2.5000]]])
    """
    sizes = maps.abs()
    return sizes.sum(dim=1) if maps.ndim == 4 else sizes


def paired_rows(
    first: Shaped[Tensor, "..."], second: Shaped[Tensor, "..."]
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]]:
    """Return two batches of maps as float64 rows after checking that they can be compared.

    Args:
        first: must be (N, ...), floating point and finite.
        second: must be of the same shape.

    Raises:
        TypeError: if one is not floating point.
        ValueError: if shapes differ, there is no entry, or one is not finite.
    """
    for name, maps in (("first", first), ("second", second)):
        if not maps.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {maps.dtype}; convert with {name}.double()")
        if maps.ndim < 2 or maps.numel() == 0:
            raise ValueError(f"{name} must be maps (N, ...) with N >= 1, got shape {tuple(maps.shape)}")
        if not (finite := maps.detach().flatten(1).isfinite().all(dim=1)).all():
            raise ValueError(f"{name} must be finite, but map {int((~finite).nonzero()[0])} is not")
    if first.shape != second.shape:
        raise ValueError(
            f"both batches must have the same shape, got {tuple(first.shape)} and {tuple(second.shape)}; compare maps "
            "of the same samples by methods with maps of the same size"
        )
    return first.detach().flatten(1).double(), second.detach().flatten(1).double().to(first.device)


def undefined_where(values: Float[Tensor, " N"], without: Shaped[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return the values with NaN where there is none.

    Args:
        values: (N,) any.
        without: (N,) whether the comparison has no value.
    """
    return torch.where(without, torch.nan, values)
