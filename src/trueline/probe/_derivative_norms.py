"""Lengths of the gradient and spectral norms of the Hessian in the input, of many samples at once."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.numerics import KrylovSpace

_TOLERANCE = 1e-3  # residual of the eigenvector, relative to its eigenvalue, that counts as convergence


class DerivativeNorms(NamedTuple):
    """What is found of each sample, on the CPU; arrays of shape (B,).

    Args:
        gradient: Euclidean length of the gradient.
        hessian: largest absolute eigenvalue of the Hessian.
        converged: whether its eigenvector is one to a part in a thousand.
        products: Hessian-vector products until then.
    """

    gradient: Float[Tensor, " B"]
    hessian: Float[Tensor, " B"]
    converged: Bool[Tensor, " B"]
    products: Int64[Tensor, " B"]


def derivative_norms(
    values: Float[Tensor, " B"],
    inputs: Float[Tensor, "B *shape"],
    start: Float[Tensor, "B *shape"],
    iterations: int,
    *,
    first: int = 0,
) -> DerivativeNorms:
    """Return the norms of both derivatives, the Hessian's by the Lanczos iteration.

    The Hessian is seen in the space of the directions ``u, Hu, H²u, ...``, one product an iteration, as a tridiagonal
    matrix whose eigenvalues lie within its own. A pair of eigenvalue θ and vector s there has the residual
    ``‖Hv - θv‖ = β·|s_last|`` with β the length that the last product has beyond the space.

    Args:
        values: (B,) a function of each sample alone, so that derivatives of the sum are those of all samples.
        inputs: (B, ...) the samples, which the values are differentiated in.
        start: (B, ...) random directions.
        iterations: most Hessian-vector products.
        first: number of the first sample, for messages.

    Returns:
        The norms, float64. A sample that has converged keeps its norm.

    Raises:
        ValueError: if there is no gradient, or a derivative is not finite or not to be had.
    """
    gradient = input_gradient(values, inputs)
    slope = _lengths(gradient.detach().flatten(1).double(), first)
    norm = torch.zeros_like(slope)
    converged = torch.zeros_like(slope, dtype=torch.bool)
    products = torch.zeros_like(slope, dtype=torch.int64)
    space = KrylovSpace(start.flatten(1).double())
    for _ in range(iterations):
        space.grow(hessian_product(gradient, inputs, space.direction, first))
        eigenvalues, _, residuals = space.ritz()
        size, place = eigenvalues.abs().max(dim=1)
        norm = torch.where(converged, norm, size)
        products += ~converged
        converged = converged | (residuals.gather(1, place[:, None]).squeeze(1) <= _TOLERANCE * size)
        if converged.all():
            break
    return DerivativeNorms(slope.cpu(), norm.cpu(), converged.cpu(), products.cpu())


def input_gradient(values: Float[Tensor, " B"], inputs: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
    """Return the gradient of each sample's value, which can be differentiated again.

    Args:
        values: (B,) a function of each sample alone.
        inputs: (B, ...) the samples.

    Raises:
        ValueError: if there is none, or it cannot be differentiated again.
    """
    gradient = _derivative(values.sum(), inputs, create_graph=True)
    if gradient is None:
        raise ValueError(
            "the model's output does not depend on its input in a differentiable way, so that there is no gradient; "
            "look for detach(), no_grad() or rounding in its forward"
        )
    check_twice_differentiable(gradient)
    return gradient


def hessian_product(
    gradient: Float[Tensor, "B *shape"],
    inputs: Float[Tensor, "B *shape"],
    directions: Float[Tensor, "B D"],
    first: int = 0,
) -> Float[Tensor, "B D"]:
    """Return the Hessian of each sample times its direction, float64.

    Args:
        gradient: (B, ...) from :func:`input_gradient`.
        inputs: (B, ...) the samples.
        directions: (B, D).
        first: number of the first sample, for messages.

    Raises:
        ValueError: if a product is not finite.
    """
    found = _derivative(gradient, inputs, directions.to(inputs.dtype).view_as(inputs))
    product = torch.zeros_like(directions) if found is None else found.flatten(1).double()
    _lengths(product, first)
    return product


def _derivative(
    outputs: Tensor, inputs: Tensor, direction: Tensor | None = None, *, create_graph: bool = False
) -> Tensor | None:
    """Return the derivative of the outputs, weighted by the direction, or None where there is none."""
    if not outputs.requires_grad:
        return None
    (found,) = torch.autograd.grad(
        outputs, inputs, direction, retain_graph=True, create_graph=create_graph, allow_unused=True
    )
    return found


def _lengths(rows: Tensor, first: int) -> Tensor:
    """Return the Euclidean length of each row, after checking that it has one."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1)
    if not lengths.isfinite().all():
        sample = first + int((~lengths.isfinite()).nonzero()[0])
        raise ValueError(f"the derivatives of the model are not finite at sample {sample}; look at what it divides by")
    return lengths


def check_twice_differentiable(gradient: Tensor) -> None:
    """Refuse gradients that PyTorch would silently take for constants.

    Args:
        gradient: with the graph that made it.

    Raises:
        ValueError: if an operation behind it can be differentiated only once.
    """
    seen: set[Any] = set()
    waiting = [gradient.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::Error":
            raise ValueError(
                "the model holds an operation that can be differentiated only once, so that there is no Hessian; "
                "look for once_differentiable in an autograd function of its own"
            )
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
