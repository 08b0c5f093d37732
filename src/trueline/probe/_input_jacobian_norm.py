"""Norms of the Jacobian of a network in its input, whose mean is the empirical Lipschitz constant."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import (
    Record,
    Reference,
    check_predictions,
    check_samples,
    chunks,
    default_generator,
    distribution_chart,
    left_as_found,
    method,
)
from trueline.numerics import Interval
from trueline.probe._jacobian_rows import JacobianRows
from trueline.probe._operator_norm import operator_norm

_EXACT_ROWS = 200  # rows of a Jacobian whose products are all formed
_TOLERANCE = 1e-4  # residual of the largest squared singular value, relative to it
_ITERATIONS = 100
_PROBES = 16


@dataclass(frozen=True, eq=False)
class JacobianNorms(Record):
    """Norms of the Jacobian ``J = ∂f/∂x`` at each sample; arrays of shape (N,).

    Args:
        spectral: largest singular value: how much the output moves at most for a small step of the input, per unit.
        frobenius: root of the sum of all squared entries; at least ``spectral``.
        frobenius_error: standard error of ``frobenius``, 0 where it is exact (up to 200 rows).
        converged: whether ``spectral`` is known to a relative 1e-4 of its square; always where all rows were formed. It
            is a lower bound where not.
        mean: mean of ``spectral``, the empirical Lipschitz constant, and its 95 % Student interval; infinite for one
            sample.
        largest: largest of ``spectral``. The Lipschitz constant of the network is at least that, on any convex set
            around the sample.
        of: ``"logits"`` or ``"probs"``, what was differentiated.
        passes: passes through the model, forward or backward, all samples together.
    """

    spectral: Float[Tensor, " N"]
    frobenius: Float[Tensor, " N"]
    frobenius_error: Float[Tensor, " N"]
    converged: Bool[Tensor, " N"]
    mean: Interval
    largest: float
    of: str
    passes: int

    units: ClassVar[Mapping[str, str]] = {
        "spectral": "unit of the output / unit of the input",
        "frobenius": "unit of the output / unit of the input",
        "frobenius_error": "unit of the output / unit of the input",
        "mean": "unit of the output / unit of the input",
        "largest": "unit of the output / unit of the input",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [
            f"spectral norm of the Jacobian of the {self.of} at {len(self.spectral)} samples: mean "
            f"{self.mean.value:.4g} (95 % interval {self.mean.low:.4g} to {self.mean.high:.4g}), median "
            f"{self.spectral.median().item():.4g}",
            f"the Lipschitz constant is at least the largest, {self.largest:.4g}",
        ]
        if short := int((~self.converged).sum()):
            lines.append(f"{short} not converged: their spectral norms are lower bounds")
        if self.of == "logits":
            lines.append("grows with the scale of the logits: compare networks at equal loss, or use of='probs'")
        return "\n".join([*lines, "per unit of the inputs as they were given: another normalisation changes it"])

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given spectral norm, and the mean.

        The background is transparent and the colours read on light and on dark pages.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.spectral,
            f"spectral norm of the Jacobian of the {self.of}",
            mean=self.mean.value,
            purpose="JacobianNorms.plot()",
        )


class _Norms(NamedTuple):
    spectral: Tensor
    frobenius: Tensor
    frobenius_error: Tensor
    converged: Tensor
    passes: int


@method(
    Reference(
        authors="Matteo Gamba, Hossein Azizpour, Mårten Björkman",
        title="On the Lipschitz Constant of Deep Networks and Double Descent",
        venue="BMVC",
        year=2023,
        arxiv="2301.12309",
    ),
    cost="a forward pass and a backward pass for each class; above 200 classes about 30 to 400 passes in all",
)
def input_jacobian_norm(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    *,
    of: Literal["logits", "probs"] = "logits",
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> JacobianNorms:
    """Return the spectral and the Frobenius norm of the input-output Jacobian at each sample.

    ``‖J‖₂ = sqrt(λ_max(JJᵀ))`` and ``‖J‖_F = sqrt(tr JJᵀ)`` with ``J = ∂f/∂x`` of shape (C, D). The mean of the
    spectral norm over the training set is the empirical Lipschitz constant. A network at C times the logits has C times
    the norms; probabilities do not share that freedom.

    Up to 200 rows all are formed and the eigenvalues of their products are found in double precision, without any
    tolerance. Above, the spectral norm comes from products with J and its transpose by the Lanczos iteration, from two
    random starts, until the residual of its square is a ten-thousandth of it; and the Frobenius norm from 16 random
    vectors of signs orthogonal to the leading one, ``‖J‖_F² = ‖J‖₂² + E‖Jᵀz‖²``, with its standard error.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two: their Jacobian has
            one row, and two of opposite sign for probabilities. It is run in evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        of: ``"logits"``, or ``"probs"``, their softmax.
        chunk_size: most samples at once, None for what suits the device; it changes the memory, not the answer.
        generator: draws the starts and the signs above 200 classes; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, logits or derivatives are not finite, the output does not depend on
            the input, or a batch-norm layer has no running statistics, so that samples depend on each other.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
        >>> record = input_jacobian_norm(model, torch.zeros(5, 2))
        >>> record.spectral[0].item(), record.frobenius[0].item()
        (4.0, 5.0)
    """
    check_samples(model, inputs, None, chunk_size)
    if of not in ("logits", "probs"):
        raise ValueError(f"of must be 'logits' or 'probs', got {of!r}")
    generator = default_generator(generator)
    parts: list[_Norms] = []
    with torch.inference_mode(mode=False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), left_as_found(model):
        finder = JacobianRows(model, len(inputs))
        rows, at_once = finder.count(inputs)
        # The same for all samples: a value does not depend on a sample's place among the others.
        starts = torch.randn(2, 1, rows, generator=generator, device=generator.device, dtype=torch.float64)
        signs = torch.randint(2, (_PROBES, rows), generator=generator, device=generator.device) * 2.0 - 1
        for first, (samples, *_) in chunks(min(chunk_size or at_once, at_once), inputs):
            assert samples is not None
            if rows <= _EXACT_ROWS:
                parts.append(_exact(*finder.find(samples), of, first))
            else:
                random = (starts.to(inputs.device), signs.to(inputs.device))
                parts.append(_iterated(*finder.run(samples), of, *random, first))
    columns = zip(*(part[:4] for part in parts), strict=True)
    spectral, frobenius, error, converged = (torch.cat(column).cpu() for column in columns)
    mean = Interval.of_mean(spectral)
    return JacobianNorms(
        spectral=spectral,
        frobenius=frobenius,
        frobenius_error=error,
        converged=converged,
        mean=mean,
        largest=spectral.max().item(),
        of=of,
        passes=sum(part.passes for part in parts),
    )


def _exact(outputs: Tensor, rows: Tensor, of: str, first: int) -> _Norms:
    """Return the norms from all products of the rows (B, K, D)."""
    passes = len(rows) * (1 + rows.shape[1])
    rows = rows.double()
    products = rows @ rows.mT
    if of == "probs":
        slope = _softmax_slope(outputs.detach())
        products = slope @ products @ slope.mT
    _check_finite(products, first)
    squares = torch.linalg.eigvalsh(products)[:, -1].clamp(min=0)
    # The trace of one row is its square; rounding must not turn their order.
    total = torch.maximum(products.diagonal(dim1=1, dim2=2).sum(dim=1), squares)
    exact = torch.ones_like(squares, dtype=torch.bool)
    return _Norms(squares.sqrt(), total.sqrt(), torch.zeros_like(squares), exact, passes)


def _softmax_slope(outputs: Tensor) -> Tensor:
    """Return the derivative (B, C, K) of the probabilities in the outputs (B, K), precise where they are 0 and 1."""
    probs = check_predictions(logits=outputs).double().softmax(dim=1)
    products = probs[:, :, None] * probs[:, None]
    products.diagonal(dim1=1, dim2=2).zero_()
    slope = torch.diag_embed(products.sum(dim=2)) - products
    return slope[:, :, 1:] if outputs[0].numel() == 1 else slope


def _iterated(outputs: Tensor, leaf: Tensor, of: str, starts: Tensor, signs: Tensor, first: int) -> _Norms:
    """Return the norms from products with the Jacobian and its transpose."""
    columns = outputs.reshape(len(outputs), -1)
    columns = columns.double().softmax(dim=1) if of == "probs" else columns
    # The product with the transpose is linear in its vector; its own transpose is the product with the Jacobian.
    vector = torch.zeros_like(columns, requires_grad=True)
    (product,) = torch.autograd.grad(columns, leaf, vector, create_graph=True)
    passes = 2

    def back(u: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(columns, leaf, u.to(columns.dtype), retain_graph=True)
        _check_finite(found, first)
        return found

    def gram(u: Tensor) -> Tensor:
        nonlocal passes
        passes += 3  # the derivative of a backward pass goes through the network twice
        (found,) = torch.autograd.grad(product, vector, back(u), retain_graph=True)
        return found.double()

    found = operator_norm(gram, starts.expand(-1, len(columns), -1), tolerance=_TOLERANCE, iterations=_ITERATIONS)
    leading = found.vector
    squares = []
    for sign in signs.double():
        rest = sign - leading * (leading @ sign)[:, None]
        squares.append(back(rest).double().flatten(1).square().sum(dim=1))
    drawn = torch.stack(squares)
    frobenius = (found.norm.square() + drawn.mean(dim=0)).sqrt()
    error = drawn.std(dim=0) / math.sqrt(len(drawn)) / (2 * torch.where(frobenius > 0, frobenius, 1))
    return _Norms(found.norm, frobenius, error, found.converged, len(columns) * (passes + len(drawn)))


def _check_finite(values: Tensor, first: int) -> None:
    finite = values.flatten(1).isfinite().all(dim=1)
    if not finite.all():
        sample = first + int((~finite).nonzero()[0])
        raise ValueError(f"the derivatives of the model are not finite at sample {sample}; look at what it divides by")
