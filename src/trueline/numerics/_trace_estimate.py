"""The trace and the Frobenius norm of a matrix from products with random signs, by Girard and Hutchinson (1989)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_FEWEST = 8  # probes before their spread is trusted to end the estimate


class TraceEstimate(NamedTuple):
    """What K probes say about a matrix.

    Attributes:
        trace: mean of the estimates.
        standard_error: of the trace; infinite for one probe.
        frobenius: Frobenius norm, from the same products.
        frobenius_error: its standard error, to first order; infinite for one probe.
        estimates: (K,) of each probe.
        parts: (K, L) of each probe and each part of the matrix's diagonal.
    """

    trace: float
    standard_error: float
    frobenius: float
    frobenius_error: float
    estimates: Float[Tensor, " K"]
    parts: Float[Tensor, "K L"]


def trace_estimate(
    matmat: Callable[[Float[Tensor, "D B"]], Float[Tensor, "D B"]],
    dimension: int,
    *,
    probes: int = 16,
    relative_error: float | None = None,
    parts: tuple[int, ...] | None = None,
    batch: int = 16,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> TraceEstimate:
    """Return estimates of the trace and the Frobenius norm of a matrix from its products with random signs.

    ``tr H ≈ mean z'Hz`` and ``‖H‖_F² ≈ mean ‖Hz‖²`` over vectors z of independent fair signs, both without bias; the
    norm is the root of its mean. The diagonal's parts are estimated as ``z_l'(Hz)_l``, whose sum is ``z'Hz``.

    Args:
        matmat: the product with the columns of a float64 matrix.
        dimension: D, the size of the matrix.
        probes: K, most vectors, at least 1.
        relative_error: stop once the standard error is at most this share of the trace's size, but not before 8
            probes; None to use all. A trace that is zero does not stop it.
        parts: lengths of consecutive parts of the diagonal, which add up to D; None for one part.
        batch: vectors at once; it changes the memory and where an estimate may stop.
        device: where the vectors lie.
        generator: draws the signs; None for one seeded with 0.

    Returns:
        The estimate, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range or a product is not finite.

    Example:
        >>> matrix = torch.diag(torch.tensor([5.0, 1.0, -2.0], dtype=torch.float64))
        >>> found = trace_estimate(lambda z: matrix @ z, 3)
        >>> found.trace, found.standard_error, round(found.frobenius**2, 6)
        (4.0, 0.0, 30.0)
    """
    lengths = (dimension,) if parts is None else parts
    if dimension < 1 or sum(lengths) != dimension:
        raise ValueError(f"dimension must be at least 1 and the sum of the parts {lengths}, got {dimension}")
    if probes < 1 or batch < 1:
        raise ValueError(f"probes and batch must be at least 1, got {probes} and {batch}")
    if relative_error is not None and not relative_error > 0:
        raise ValueError(f"relative_error must be above 0, got {relative_error}")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    if relative_error is not None:
        batch = min(batch, _FEWEST)
    rows: list[Tensor] = []
    squares: list[Tensor] = []
    drawn = 0
    while drawn < probes:
        # One vector after another, so that the signs do not depend on the batch.
        signs = [_signs(dimension, generator) for _ in range(min(batch, probes - drawn))]
        vectors = torch.stack(signs, dim=1).to(device)
        images = matmat(vectors).double()
        if not images.isfinite().all():
            raise ValueError("a product with the matrix is not finite; look for overflow in what defines it")
        rows.append(
            torch.stack([part.sum(dim=0) for part in torch.split(vectors * images, list(lengths))], dim=1).cpu()
        )
        squares.append(images.square().sum(dim=0).cpu())
        drawn += vectors.shape[1]
        trace, error = _mean_and_error(torch.cat(rows).sum(dim=1))
        if relative_error is not None and drawn >= _FEWEST and error <= relative_error * abs(trace) > 0:
            break
    table = torch.cat(rows)
    square, square_error = _mean_and_error(torch.cat(squares))
    norm = math.sqrt(square)
    norm_error = square_error / (2 * norm) if norm > 0 else square_error
    return TraceEstimate(trace, error, norm, norm_error, table.sum(dim=1), table)


def _signs(dimension: int, generator: torch.Generator) -> Tensor:
    bits = torch.randint(0, 2, (dimension,), generator=generator, device=generator.device)
    return bits.double().mul_(2).sub_(1)


def _mean_and_error(values: Tensor) -> tuple[float, float]:
    """Return the mean and its standard error."""
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return values.mean().item(), error
