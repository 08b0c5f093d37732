"""Curvature of a scalar of the network in its input: the ends of each sample's Hessian, its trace and its norm."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import (
    Record,
    check_samples,
    chunks,
    class_values,
    default_generator,
    distribution_chart,
    left_as_found,
    method,
    run_logits,
)
from trueline.numerics import KrylovSpace
from trueline.probe._derivative_norms import hessian_product, input_gradient
from trueline.probe._hessian_eigenvalues import LANCZOS
from trueline.probe._hessian_trace import HUTCHINSON

_TOLERANCE = 1e-3  # residual of an eigenvector, relative to the larger end of its sample, that counts as convergence


@dataclass(frozen=True, eq=False)
class InputHessian(Record):
    """The Hessian in the input of a scalar of the network at each sample; arrays of shape (N,).

    Args:
        largest: algebraically largest eigenvalue; a lower bound where not converged.
        smallest: algebraically smallest; an upper bound where not converged.
        trace: sum of the eigenvalues.
        trace_error: its standard error over probes, 0 where the whole matrix was formed; infinite for one probe.
        frobenius: root of the sum of the squared eigenvalues.
        frobenius_error: its standard error, to first order.
        converged: whether ``‖Hv - θv‖ <= 0.001·max|θ|`` at both ends; always where the whole matrix was formed.
        iterations: Hessian-vector products spent on the ends.
        of: ``"loss"`` or ``"logit"``, what was differentiated.
        exact: whether the whole matrix was formed.
        passes: passes through the model, forward or backward, all samples together.
    """

    largest: Float[Tensor, " N"]
    smallest: Float[Tensor, " N"]
    trace: Float[Tensor, " N"]
    trace_error: Float[Tensor, " N"]
    frobenius: Float[Tensor, " N"]
    frobenius_error: Float[Tensor, " N"]
    converged: Bool[Tensor, " N"]
    iterations: Int64[Tensor, " N"]
    of: str
    exact: bool
    passes: int

    units: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("largest", "smallest", "trace", "trace_error", "frobenius", "frobenius_error"),
        "unit of the output / unit of the input squared",
    )

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        samples, short = len(self.largest), int((~self.converged).sum())
        bent = int((self.smallest < -1e-3 * self.largest.abs()).sum())
        lines = [
            f"Hessian of the {self.of} in the input at {samples} samples: largest eigenvalue {self.largest.mean():.4g} "
            f"on average (most {self.largest.max():.4g}), smallest {self.smallest.mean():.4g} "
            f"(least {self.smallest.min():.4g}), trace {self.trace.mean():.4g}, Frobenius norm "
            f"{self.frobenius.mean():.4g}",
            f"{bent} of {samples} bend down in some direction",
        ]
        if not self.exact:
            lines.append(f"trace and Frobenius norm are estimates, off by {self.trace_error.mean():.2g} on average")
        if short:
            lines.append(f"{short} not converged: their ends lie further out; raise iterations")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given largest eigenvalue, and the mean.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        title = f"largest eigenvalue of the {self.of}'s Hessian in the input"
        mean = self.largest.mean().item()
        return distribution_chart(self.largest, title, mean=mean, purpose="InputHessian.plot()")


class _Found(NamedTuple):
    largest: Tensor
    smallest: Tensor
    trace: Tensor
    trace_error: Tensor
    frobenius: Tensor
    frobenius_error: Tensor
    converged: Tensor
    iterations: Tensor


@method(
    LANCZOS,
    HUTCHINSON,
    cost="a forward and a backward pass, and two passes for each iteration and each probe",
)
def input_hessian(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"] | None = None,
    *,
    of: Literal["loss", "logit"] = "loss",
    iterations: int = 40,
    probes: int = 32,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> InputHessian:
    """Return the ends of the spectrum, the trace and the Frobenius norm of each sample's Hessian in the input.

    ``H(x) = ∇²_x f(x)`` with f the cross-entropy of the label or the logit of its class. The eigenvalues keep their
    signs: a loss that bends down beside a sample is not a flat one. Inputs of at most ``iterations + probes`` entries
    have the whole matrix formed, one product an entry, and every value is exact. Larger ones have their ends found by
    the Lanczos iteration, and trace and norm estimated from products with random signs. Directions and signs are the
    same for all samples. A network of ReLUs has piecewise linear logits, whose Hessian is zero wherever it exists; the
    Hessian of its loss is that of the softmax alone.

    Args:
        model: any module that can be differentiated twice, from inputs to logits (N, C), or (N,) or (N, 1) log-odds of
            class 1 of two, which are then the logit. It is run in evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        labels: (N,) class numbers, int64, or None for the predicted classes.
        of: ``"loss"`` in nats, or ``"logit"``.
        iterations: most products for the ends, at least 1.
        probes: products with random signs, at least 1.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        generator: draws directions and signs; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, logits or derivatives are not finite, the output does not depend on
            the input, or a batch-norm layer has no running statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> class Saddle(nn.Module):
        ...     def forward(self, x):
        ...         return 3 * x[:, 0] ** 2 - x[:, 1] ** 2
        >>> record = input_hessian(Saddle(), torch.ones(1, 2), of="logit")
        >>> record.largest.item(), record.smallest.item(), record.trace.item()
        (6.0, -2.0, 4.0)
    """
    check_samples(model, inputs, labels, chunk_size)
    if of not in ("loss", "logit"):
        raise ValueError(f"of must be 'loss' or 'logit', got {of!r}")
    if iterations < 1 or probes < 1:
        raise ValueError(f"iterations and probes must be at least 1, got {iterations} and {probes}")
    generator = default_generator(generator)
    dimension = inputs[0].numel()
    exact = dimension <= iterations + probes
    start = torch.randn(dimension, generator=generator, device=generator.device, dtype=torch.float64)
    bits = torch.randint(0, 2, (0 if exact else probes, dimension), generator=generator, device=generator.device)
    start, signs = start.to(inputs.device), (2 * bits.double() - 1).to(inputs.device)
    parts: list[_Found] = []
    passes = 0
    with torch.inference_mode(mode=False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), left_as_found(model):
        for first, (rows, classes) in chunks(chunk_size, inputs, labels):
            assert rows is not None
            point = rows.detach().clone().requires_grad_()
            gradient = input_gradient(class_values(run_logits(model, point), classes, of), point)
            found = (
                _whole(gradient, point, first)
                if exact
                else _estimated(gradient, point, start, signs, iterations, first)
            )
            parts.append(_Found(*(part.cpu() for part in found)))
            products = dimension if exact else int(found.iterations.max()) + probes
            passes += len(point) * 2 * (1 + products)
    together = _Found(*(torch.cat(each) for each in zip(*parts, strict=True)))
    return InputHessian(**together._asdict(), of=of, exact=exact, passes=passes)


def _whole(gradient: Tensor, point: Tensor, first: int) -> _Found:
    """Form the matrices from their products with the unit vectors."""
    samples, dimension = point.flatten(1).shape
    units = torch.eye(dimension, dtype=torch.float64, device=point.device)
    columns = [hessian_product(gradient, point, unit.expand(samples, -1), first) for unit in units]
    matrices = torch.stack(columns, dim=2)
    matrices = (matrices + matrices.mT) / 2  # rounding leaves them a little off symmetry
    values = torch.linalg.eigvalsh(matrices)
    zero = values.new_zeros(samples)
    return _Found(
        largest=values[:, -1],
        smallest=values[:, 0],
        trace=matrices.diagonal(dim1=1, dim2=2).sum(dim=1),
        trace_error=zero,
        frobenius=torch.linalg.vector_norm(matrices, dim=(1, 2)),
        frobenius_error=zero,
        converged=torch.ones(samples, dtype=torch.bool, device=point.device),
        iterations=torch.full((samples,), dimension, device=point.device),
    )


def _estimated(gradient: Tensor, point: Tensor, start: Tensor, signs: Tensor, iterations: int, first: int) -> _Found:
    """Find the ends of the spectra by the Lanczos iteration, and the rest from random signs."""
    samples = len(point)
    space = KrylovSpace(start.expand(samples, -1))
    largest, smallest = (start.new_zeros(samples) for _ in range(2))
    converged = torch.zeros(samples, dtype=torch.bool, device=point.device)
    products = torch.zeros(samples, dtype=torch.int64, device=point.device)
    for _ in range(iterations):
        space.grow(hessian_product(gradient, point, space.direction, first))
        values, _, residuals = space.ritz()
        # A sample that has converged keeps its values, and so does not depend on how long others take.
        largest = torch.where(converged, largest, values[:, -1])
        smallest = torch.where(converged, smallest, values[:, 0])
        products += ~converged
        size = values[:, [0, -1]].abs().amax(dim=1)
        converged = converged | (residuals[:, [0, -1]].amax(dim=1) <= _TOLERANCE * size)
        if converged.all():
            break
    images = [hessian_product(gradient, point, sign.expand(samples, -1), first) for sign in signs]
    traces = torch.stack([image @ sign for image, sign in zip(images, signs, strict=True)])
    squares = torch.stack([image.square().sum(dim=1) for image in images])
    norm = squares.mean(dim=0).sqrt()
    return _Found(
        largest=largest,
        smallest=smallest,
        trace=traces.mean(dim=0),
        trace_error=_error(traces),
        frobenius=norm,
        frobenius_error=_error(squares) / (2 * torch.where(norm > 0, norm, 1)),
        converged=converged,
        iterations=products,
    )


def _error(draws: Tensor) -> Tensor:
    """Return the standard error of the mean over draws (K, B)."""
    return draws.std(dim=0) / math.sqrt(len(draws)) if len(draws) > 1 else torch.full_like(draws[0], math.inf)
