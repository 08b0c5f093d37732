"""How far vectors are from a simplex equiangular tight frame."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class SimplexFit:
    """How far K vectors are from a simplex equiangular tight frame: equal lengths, all cosines -1/(K - 1).

    Args:
        equinorm: standard deviation of the lengths over their mean.
        equiangularity: standard deviation of the cosines of all pairs.
        max_angle: mean of ``|cos + 1/(K - 1)|`` over all pairs.
        etf_distance: ``‖G/‖G‖_F - (I - 11ᵀ/K)/√(K - 1)‖_F`` for the Gram matrix G, from 0 to √2.
    """

    equinorm: float
    equiangularity: float
    max_angle: float
    etf_distance: float


def simplex_fit(vectors: Float[Tensor, "K d"]) -> SimplexFit:
    """Compare vectors with a simplex; one of length zero has cosine 0 with every other.

    Args:
        vectors: (K, d) float64, K at least 2, not all zero.
    """
    classes = len(vectors)
    lengths = vectors.norm(dim=1)
    unit = vectors / torch.where(lengths > 0, lengths, 1)[:, None]
    first, second = torch.triu_indices(classes, classes, offset=1, device=vectors.device)
    cosines = (unit @ unit.T)[first, second]
    gram = vectors @ vectors.T
    frame = (torch.eye(classes, dtype=gram.dtype, device=gram.device) - 1 / classes) / math.sqrt(classes - 1)
    return SimplexFit(
        equinorm=(lengths.std(correction=0) / lengths.mean()).item(),
        equiangularity=cosines.std(correction=0).item(),
        max_angle=(cosines + 1 / (classes - 1)).abs().mean().item(),
        etf_distance=(gram / gram.norm() - frame).norm().item(),
    )
