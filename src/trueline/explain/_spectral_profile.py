"""Power of maps in rings of equal spatial frequency."""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trueline.contracts import chunks
from trueline.numerics import average_ranks

Combine = Literal["mean", "sum"]


def spectral_profiles(
    maps: Shaped[Tensor, "N ..."],
    *,
    rank: bool = True,
    ring: Combine = "mean",
    max_radius: int | None = None,
    chunk_size: int | None = None,
) -> Float[Tensor, "N L"]:
    """Return the power of each map in rings around the mean, ring 0.

    Ring ρ holds the coefficients of the discrete Fourier transform with ``floor(sqrt(k_y² + k_x²)) = ρ``, where k_y and
    k_x count whole cycles over the height and over the width, from minus half of the pixels on. In a map that is not
    square, a ring has therefore not one wavelength in pixels.

    Args:
        maps: (N, H, W), or (N, channels, H, W), which are summed over the channels with their sign.
        rank: transform ranks in place of values, ties averaged, divided by their number H·W.
        ring: mean or sum of ``|FFT|²`` over a ring.
        max_radius: the last ring; None for all, up to the corners.
        chunk_size: maps at once, None for all.

    Returns:
        (N, L) the power, float64 on the CPU; beyond ring 0 exactly zero for a map that is constant.

    Raises:
        ValueError: if the maps have another shape, are not finite or complex, or an option is out of range.
    """
    _check(maps, ring, chunk_size)
    height, width = maps.shape[-2:]
    rings = _rings(height, width)
    last = int(rings.max())
    if max_radius is not None and not 0 <= max_radius <= last:
        raise ValueError(f"max_radius must lie in [0, {last}] for maps of {height}x{width}, got {max_radius}")
    sizes = torch.bincount(rings).double()
    profiles = []
    for _, (rows,) in chunks(chunk_size, maps):
        assert rows is not None
        values = rows.detach().to("cpu", torch.float64)
        values = values.sum(dim=1) if values.ndim == 4 else values
        constant = values.flatten(1).amax(dim=1) == values.flatten(1).amin(dim=1)
        if rank:
            values = average_ranks(values.flatten(1)).view_as(values) / (height * width)
        power = torch.fft.fft2(values).abs().square().flatten(1)
        profile = torch.zeros(len(values), last + 1, dtype=torch.float64).index_add_(1, rings, power)
        profile[constant, 1:] = 0  # what is left there of a constant is rounding
        profiles.append(profile / sizes if ring == "mean" else profile)
    return torch.cat(profiles)[:, : None if max_radius is None else max_radius + 1]


def _rings(height: int, width: int) -> Tensor:
    """Return (H·W,) the ring of each coefficient, in the order of the transform."""
    cycles = [torch.fft.fftfreq(size, 1 / size, dtype=torch.float64).round().long() for size in (height, width)]
    squares = cycles[0].square()[:, None] + cycles[1].square()
    rings: Tensor = squares.flatten().double().sqrt().long()  # exact: the root of a square is rounded to itself
    return rings


def _check(maps: Tensor, ring: str, chunk_size: int | None) -> None:
    if not maps.is_floating_point():
        raise TypeError(f"maps must be floating point, got {maps.dtype}; convert with maps.float()")
    if maps.ndim not in (3, 4) or maps.numel() == 0:
        raise ValueError(
            f"maps must have shape (N, H, W) or (N, channels, H, W) without an empty axis, got {tuple(maps.shape)}"
        )
    if not (finite := maps.detach().flatten(1).isfinite().all(dim=1)).all():
        raise ValueError(f"maps must be finite, but map {int((~finite).nonzero()[0])} is not")
    if ring not in get_args(Combine):
        raise ValueError(f"ring must be 'mean' or 'sum', got {ring!r}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
