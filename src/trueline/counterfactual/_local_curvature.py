"""How much the data bend around a point, by Gemou et al. (2026)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import method
from trueline.counterfactual._pool import Pool
from trueline.counterfactual._source import GEMOU_2026

_EPSILON = 1e-8  # added to the mean squared length
_ENTRIES = 1 << 22  # numbers held at once


@method(GEMOU_2026, cost="the distances to all reference examples and an SVD of (k, D) for each point")
def local_curvature(
    z: Float[Tensor, "N *shape"],
    reference: Float[Tensor, "M *shape"],
    k: int = 20,
    *,
    tangent: int = 2,
    exclude: Int64[Tensor, " N"] | None = None,
) -> Float[Tensor, " N"]:
    """Return how far the nearest reference examples leave the plane that fits them best, relative to their distance.

    The offsets ``o_i`` of the k nearest examples of any class from z, not centred anew, have a singular value
    decomposition whose first right vectors span the tangent; then ``κ = mean‖o_i^⊥‖ / (mean‖o_i^∥‖² + 1e-8)``. On a
    circle of radius R, with a tangent of one dimension, it tends to ``1/(2R)`` as the examples come nearer.

    Args:
        z: (N, ...) points, floating point.
        reference: (M, ...) reference embeddings.
        k: number of neighbours, at least ``tangent``.
        tangent: dimension of the tangent plane, at least 1.
        exclude: (N,) row of the reference set that does not count for a point, -1 for none; or None.

    Returns:
        (N,) curvatures in 1 / unit of the embedding, float64 on the reference set's device; 0 where the neighbours lie
        in the plane, as they do where the space has no more dimensions than it.

    Raises:
        ValueError: if an argument is out of range or a shape does not fit.

    Example:
        >>> angle = torch.linspace(-0.1, 0.1, 41, dtype=torch.float64)
        >>> circle = 5 * torch.stack([angle.cos(), angle.sin()], dim=1)
        >>> round(local_curvature(circle[20:21], circle, k=11, tangent=1).item(), 3)
        0.1
    """
    available = len(reference) - int(exclude is not None)
    if not 1 <= tangent <= k <= available:
        raise ValueError(
            f"expected 1 <= tangent <= k <= {available}, the reference examples there are, got tangent={tangent}, k={k}"
        )
    flat = reference.detach().flatten(1).double()
    if z.ndim < 2 or z.flatten(1).shape[1] != flat.shape[1]:
        raise ValueError(f"points of {tuple(z.shape)} do not fit reference examples of {tuple(reference.shape)}")
    points = z.detach().flatten(1).to(flat)
    left_out = None if exclude is None else exclude.to(flat.device)
    return curvature_in(Pool.of(flat, torch.arange(len(flat), device=flat.device)), points, k, tangent, left_out)


def curvature_in(
    pool: Pool, points: Float[Tensor, "N D"], k: int, tangent: int, exclude: Int64[Tensor, " N"] | None
) -> Float[Tensor, " N"]:
    """Return the local curvature of flat points in a pool that is made already.

    Args:
        pool: the reference examples.
        points: (N, D) float64.
        k: number of neighbours.
        tangent: dimension of the plane.
        exclude: (N,) as in :func:`local_curvature`.
    """
    _, places = pool.nearest(points, k, exclude)
    found = []
    rows = max(1, _ENTRIES // (k * points.shape[1]))
    for start in range(0, len(points), rows):
        near = pool.points[places[start : start + rows]] + pool.centre
        left, values, _ = torch.linalg.svd(near - points[start : start + rows, None], full_matrices=False)
        square = (left * values[:, None]).square()  # of each offset, along each singular vector
        across = square[..., tangent:].sum(dim=2).sqrt().mean(dim=1)
        found.append(across / (square[..., :tangent].sum(dim=2).mean(dim=1) + _EPSILON))
    return torch.cat(found)
