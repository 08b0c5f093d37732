"""The cosine of the angle between two maps, argued for by Joo et al. (2023): it knows no scale."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.explain._map_pairs import paired_rows, undefined_where


@method(
    Reference(
        authors="Sunghwan Joo, Seokhyeon Jeong, Juyeon Heo, Adrian Weller, Taesup Moon",
        title="Towards More Robust Interpretation via Local Gradient Alignment",
        venue="AAAI",
        year=2023,
        arxiv="2211.15900",
    ),
    cost="one pass over both maps",
)
def cosine_similarity(first: Float[Tensor, "N *map"], second: Float[Tensor, "N *map"]) -> Float[Tensor, " N"]:
    """Return the cosine of the angle between two maps, all entries in one vector.

    ``⟨a, b⟩ / (‖a‖·‖b‖)``, in double precision.

    Args:
        first: (N, ...) maps.
        second: (N, ...) maps of the same samples.

    Returns:
        (N,) in [-1, 1], float64; 1 where one is a positive multiple of the other, and NaN where a map is zero
        everywhere, since it has no direction.

    Raises:
        ValueError: if shapes differ or a map is not finite.
        TypeError: if a batch is not floating point.

    Example:
        >>> cosine_similarity(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])).item()
        0.96
    """
    one, other = (_directions(rows) for rows in paired_rows(first, second))
    zero = ~(one.any(dim=1) & other.any(dim=1))
    return undefined_where((one * other).sum(dim=1).clamp(-1, 1), zero)


def _directions(rows: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    """Return each row at length one, zeros as they are; squares of tiny entries must not vanish."""
    largest = rows.abs().amax(dim=1, keepdim=True)
    scaled = rows / torch.where(largest > 0, largest, 1)
    length = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled / torch.where(length > 0, length, 1)
