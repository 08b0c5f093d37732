"""The two lengths by which a geometry-aware search is measured, by Gemou et al. (2026)."""

from typing import NamedTuple

import torch
from torch import nn

from trueline.contracts import method
from trueline.counterfactual._boundary_distance import boundary_distance
from trueline.counterfactual._local_support import LocalSupport
from trueline.counterfactual._source import GEMOU_2026


class GeometryScales(NamedTuple):
    """Typical lengths of a head and its reference examples, in units of the embedding.

    Attributes:
        support: median over the reference examples of their radius in the data of the runner-up class.
        boundary: median over the reference examples of their distance to the boundary.
    """

    support: float
    boundary: float


@method(GEMOU_2026, cost="a forward and a backward pass for each reference example, and its distances to one class")
def geometry_scales(head: nn.Module, support: LocalSupport, *, chunk_size: int | None = None) -> GeometryScales:
    """Return how far other classes' data, and how far their boundaries, usually are.

    ``d_s = median r_t(z)`` and ``b_s = median bd(z)`` over the reference examples z with their runner-up class t. A
    search whose steps are fractions of d_s and whose ball is a multiple of b_s means the same in every embedding.

    Args:
        head: as in :func:`boundary_distance`.
        support: with the reference examples, in the shape and dtype that the head takes.
        chunk_size: examples at once, None for all.

    Returns:
        Both lengths, in units of the embedding.

    Raises:
        ValueError: as :func:`boundary_distance`, or if no runner-up class has k examples.
        TypeError: if the support is no :class:`LocalSupport`, whose radii are lengths.

    Example:
        >>> support = LocalSupport(torch.randn(60, 2), torch.arange(60) % 3, k=5)
        >>> geometry_scales(nn.Linear(2, 3), support).support > 0
        True
    """
    if not isinstance(support, LocalSupport):
        raise TypeError(f"support must be a LocalSupport, whose radii are lengths, got {type(support).__name__}")
    found = boundary_distance(head, support.reference, chunk_size=chunk_size)
    own = torch.arange(len(support.reference))
    radius = support.radius(support.reference, found.target, exclude=own)
    radius = radius[radius.isfinite()]
    if not len(radius):
        raise ValueError(f"no runner-up class has {support.k} reference examples; lower k or give more")
    return GeometryScales(radius.median().item(), found.distance.median().item())
