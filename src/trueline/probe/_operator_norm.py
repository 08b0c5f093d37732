"""Spectral norms of linear maps that are only seen through their products, of many samples at once."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

TOLERANCE = 1e-5  # residual of a layer's squared norm that counts as converged
_KEPT = 8  # Ritz vectors that survive a restart
_HELD = 40  # directions held at most


class OperatorNorm(NamedTuple):
    """Norms of B linear maps; arrays of shape (B,), float64.

    Args:
        norm: the spectral norm, approached from below.
        residual: ``‖AᵀAv - θv‖ / θ`` for ``θ = norm²`` and the vector v found; ``AᵀA`` has an eigenvalue within
            ``residual·θ`` of θ, so that ``norm·sqrt(1 + residual)`` is a bound if that eigenvalue is the largest.
        converged: whether the residual is below the tolerance.
        vector: (B, D) the right singular vector, of length one; zeros where the map is zero.
    """

    norm: Float[Tensor, " B"]
    residual: Float[Tensor, " B"]
    converged: Bool[Tensor, " B"]
    vector: Float[Tensor, "B D"]


def operator_norm(
    gram: Callable[[Tensor], Tensor],
    starts: Float[Tensor, "S B D"],
    *,
    tolerance: float,
    iterations: int,
) -> OperatorNorm:
    """Return the norm of each map ``A_b`` by the Lanczos iteration on ``A_bᵀA_b``, the largest over several starts.

    A start without any share of the leading direction would converge, and be wrong; hence the several. The space of
    directions is restarted from its best few whenever it has grown to 40, which bounds the memory.

    Args:
        gram: takes (B, D) float64 directions and returns ``A_bᵀA_b`` times each.
        starts: (S, B, D) random directions, float64.
        tolerance: residual that counts as converged.
        iterations: most products of each start.
    """
    runs = [_lanczos(gram, start, tolerance, iterations) for start in starts]
    norm = torch.stack([run.norm for run in runs])
    best = norm.argmax(dim=0)
    rows = torch.arange(norm.shape[1], device=norm.device)
    chosen = [torch.stack([getattr(run, name) for run in runs])[best, rows] for name in ("norm", "residual", "vector")]
    converged = torch.stack([run.converged for run in runs]).all(dim=0)
    return OperatorNorm(chosen[0], chosen[1], converged, chosen[2])


def _lanczos(gram: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, iterations: int) -> OperatorNorm:
    basis = _scaled(start).unsqueeze(1)
    inside = start.new_zeros(len(start), 0, 0)
    norm, residual = start.new_zeros(len(start)), start.new_full((len(start),), torch.inf)
    converged = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    vector = torch.zeros_like(start)
    for _ in range(iterations):
        product = gram(basis[:, -1])
        along = torch.einsum("bkd,bd->bk", basis, product)
        rest = product - torch.einsum("bkd,bk->bd", basis, along)
        rest = rest - torch.einsum("bkd,bk->bd", basis, torch.einsum("bkd,bd->bk", basis, rest))
        inside = torch.cat(
            [torch.cat([inside, along[:, :-1, None]], dim=2), along[:, None]],
            dim=1,
        )
        eigenvalues, vectors = torch.linalg.eigh(inside)
        largest = eigenvalues[:, -1].clamp(min=0)
        beyond = torch.linalg.vector_norm(rest, dim=1)
        # A sample that has converged keeps its value, whatever others in the batch still need.
        error = beyond * vectors[:, -1, -1].abs() / torch.where(largest > 0, largest, 1)
        norm = torch.where(converged, norm, largest.sqrt())
        residual = torch.where(converged, residual, error)
        found = torch.einsum("bkd,bk->bd", basis, vectors[:, :, -1])
        vector = torch.where(converged[:, None], vector, found * (largest > 0)[:, None])
        converged = converged | (error <= tolerance)
        if converged.all():
            break
        if basis.shape[1] == _HELD:
            basis = torch.einsum("bkd,bkr->brd", basis, vectors[:, :, -_KEPT:])
            inside = torch.diag_embed(eigenvalues[:, -_KEPT:])
        basis = torch.cat([basis, _scaled(rest).unsqueeze(1)], dim=1)
    return OperatorNorm(norm, residual, converged, vector)


def _scaled(rows: Tensor) -> Tensor:
    """Return the rows with length one; rows of zeros stay."""
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / torch.where(lengths > 0, lengths, 1)


def linear_norm(function: Callable[[Tensor], Tensor], shape: torch.Size, device: torch.device) -> OperatorNorm:
    """Return the norm of an affine function's linear part, through its values and its vector-Jacobian product.

    Args:
        function: takes a float64 tensor of the shape.
        shape: of its argument.
        device: of its argument.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        origin = torch.zeros(shape, dtype=torch.float64, device=device, requires_grad=True)
        value = function(origin)
    offset = value.detach()

    def gram(directions: Tensor) -> Tensor:
        with torch.no_grad():
            forward = function(directions.view(shape)) - offset
        (back,) = torch.autograd.grad(value, origin, forward, retain_graph=True)
        return back.reshape(1, -1)

    starts = torch.randn(2, 1, shape.numel(), generator=generator, dtype=torch.float64).to(device)
    return operator_norm(gram, starts, tolerance=TOLERANCE, iterations=500)
