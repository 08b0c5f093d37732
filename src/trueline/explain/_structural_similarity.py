"""Structural similarity of two maps, by Wang et al. (2004)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from trueline.contracts import Reference, method
from trueline.explain._centre_shift import check_images
from trueline.explain._map_pairs import magnitude, paired_rows

_SPREAD = 1.5  # pixels
_K1, _K2 = 0.01, 0.03


@method(
    Reference(
        authors="Zhou Wang, Alan C. Bovik, Hamid R. Sheikh, Eero P. Simoncelli",
        title="Image Quality Assessment: From Error Visibility to Structural Similarity",
        venue="IEEE Transactions on Image Processing",
        year=2004,
        doi="10.1109/TIP.2003.819861",
    ),
    cost="five convolutions of each pair with a separable window",
)
def structural_similarity(
    first: Float[Tensor, "N *map"],
    second: Float[Tensor, "N *map"],
    *,
    window: int = 11,
    value_range: float | None = None,
) -> Float[Tensor, " N"]:
    """Return how alike two maps of an image look: in level, contrast and structure of small windows.

    ``(2μ_a·μ_b + C₁)(2σ_ab + C₂) / ((μ_a² + μ_b² + C₁)(σ_a² + σ_b² + C₂))`` with means, variances and covariance under
    a Gaussian window of standard deviation 1.5 pixels, ``C₁ = (0.01·R)²`` and ``C₂ = (0.03·R)²``; mean over all windows
    that lie inside the map.

    Maps of images with channels are compared by :func:`magnitude`; (N, H, W) maps as they are, with their sign.

    Args:
        first: (N, H, W) or (N, C, H, W) maps.
        second: maps of the same samples and the same shape.
        window: side of the window in pixels, odd, at most the sides of the map.
        value_range: R, above 0; None for the span from the smallest to the largest entry of both maps of a sample, so
            that the same factor or constant for both changes little or nothing.

    Returns:
        (N,) in [-1, 1], float64; 1 for equal maps. The same with both swapped.

    Raises:
        ValueError: if shapes differ, maps are not of images, the window does not fit, or a map is not finite.
        TypeError: if a batch is not floating point.

    Example:
        >>> map = torch.eye(11)[None]
        >>> structural_similarity(map, map).item(), round(structural_similarity(map, map.flip(1)).item(), 2)
        (1.0, 0.23)
    """
    paired_rows(first, second)
    check_images(first, "structural_similarity")
    one, other = (
        maps.detach().double() if maps.ndim == 3 else magnitude(maps.detach().double()) for maps in (first, second)
    )
    if window < 1 or window % 2 == 0 or window > min(one.shape[1:]):
        raise ValueError(
            f"window must be odd and at most the sides {tuple(one.shape[1:])} of the maps, got {window}; pass a "
            "smaller window="
        )
    if value_range is not None and not value_range > 0:
        raise ValueError(f"value_range must be above 0, got {value_range}")
    both = torch.stack([one, other], dim=1).flatten(1)
    span = both.amax(dim=1) - both.amin(dim=1) if value_range is None else both.new_full((len(both),), value_range)
    span = torch.where(span > 0, span, 1)  # equal constants
    moments = _windowed(torch.stack([one, other, one * one, other * other, one * other], dim=1), window)
    mean_one, mean_other, square_one, square_other, product = moments.unbind(dim=1)
    level, contrast = ((factor * span).square()[:, None, None] for factor in (_K1, _K2))
    covariance = product - mean_one * mean_other
    variances = (square_one - mean_one**2).clamp_min(0) + (square_other - mean_other**2).clamp_min(0)
    alike = (2 * mean_one * mean_other + level) * (2 * covariance + contrast)
    return (alike / ((mean_one**2 + mean_other**2 + level) * (variances + contrast))).mean(dim=(1, 2)).clamp(-1, 1)


def _windowed(maps: Float[Tensor, "N K H W"], window: int) -> Float[Tensor, "N K h w"]:
    """Return the weighted mean in each window, along columns and then along rows."""
    places = torch.arange(window, dtype=maps.dtype, device=maps.device) - window // 2
    weights = torch.exp(-places.square() / (2 * _SPREAD**2))
    weights = weights / weights.sum()
    samples, kinds = maps.shape[:2]
    rows = F.conv2d(maps.flatten(0, 1)[:, None], weights.view(1, 1, -1, 1))
    found = F.conv2d(rows, weights.view(1, 1, 1, -1))
    return found.view(samples, kinds, *found.shape[2:])
