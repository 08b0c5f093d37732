"""Eigenvalues at the ends of the spectrum of the loss's curvature in the weights, by the Lanczos iteration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from trueline.contracts import ACCENT, Record, Reference, default_generator, import_optional, method, plain_chart
from trueline.numerics import lanczos_eigenpairs
from trueline.probe._curvature_operator import CurvatureOperator
from trueline.probe._gauss_newton import GaussNewton
from trueline.probe._loss_hessian import LossHessian

Matrix = Literal["hessian", "gauss_newton"]
MATRICES: Mapping[str, type[CurvatureOperator]] = {"hessian": LossHessian, "gauss_newton": GaussNewton}
SAID = {"hessian": "loss Hessian", "gauss_newton": "Gauss-Newton matrix"}

LANCZOS = Reference(
    authors="Cornelius Lanczos",
    title="An Iteration Method for the Solution of the Eigenvalue Problem of Linear Differential and Integral "
    "Operators",
    venue="Journal of Research of the National Bureau of Standards",
    year=1950,
    doi="10.6028/jres.045.026",
)


@dataclass(frozen=True, eq=False)
class HessianEigenvalues(Record):
    """The outermost eigenvalues at one end of the spectrum; arrays of shape (K,), the outermost first.

    Args:
        values: eigenvalues of the matrix of the mean loss.
        residuals: ``‖Hv - λv‖ / |λ|``, measured with a product of its own; infinite for a value of zero that is off.
        errors: ``‖Hv - λv‖``: some eigenvalue lies within that distance of the value, as a rule much nearer.
        converged: whether the residual is at most the tolerance.
        vectors: (K, P) the eigenvectors, or None where they were not asked for.
        which: ``"largest"`` or ``"smallest"``, with their signs.
        matrix: ``"hessian"`` or ``"gauss_newton"``.
        parameters: P, weights that the matrix is of.
        samples: N, that the loss is a mean over.
        products: products with the matrix.
        passes: passes of a sample through the model, forward or backward.
    """

    values: Float[Tensor, " K"]
    residuals: Float[Tensor, " K"]
    errors: Float[Tensor, " K"]
    converged: Bool[Tensor, " K"]
    vectors: Float[Tensor, "K P"] | None
    which: str
    matrix: str
    parameters: int
    samples: int
    products: int
    passes: int

    units: ClassVar[Mapping[str, str]] = {
        "values": "unit of the loss / unit of the weights squared",
        "residuals": "1",
        "errors": "unit of the loss / unit of the weights squared",
        "vectors": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        first, short = self.values[0].item(), int((~self.converged).sum())
        lines = [
            f"{self.which} eigenvalue of the {SAID[self.matrix]}: {first:.5g}, residual {self.residuals[0]:.1e} "
            f"({self.parameters:,} weights, {self.samples:,} samples, {self.products} products)"
        ]
        if len(self.values) > 1:
            lines.append("then " + ", ".join(f"{value:.4g}" for value in self.values[1:].tolist()))
        if self.which == "largest" and first > 0:
            lines.append(f"gradient descent on the same loss is stable here up to a step size of {2 / first:.4g}")
        if short:
            bound = "lower" if self.which == "largest" else "upper"
            lines.append(f"{short} not converged: a value is then a {bound} bound; raise iterations")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the eigenvalues by rank.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="HessianEigenvalues.plot()")
        rows = [{"rank": rank, "value": value} for rank, value in enumerate(self.values.tolist(), start=1)]
        chart = alt.Chart(alt.Data(values=rows)).mark_point(color=ACCENT, filled=True)
        x = alt.X("rank:Q", title="rank", axis=alt.Axis(tickMinStep=1))
        return plain_chart(chart.encode(x=x, y=alt.Y("value:Q", title=f"eigenvalue of the {SAID[self.matrix]}")))


@method(
    LANCZOS,
    cost="two passes through the model for each product, about ten to thirty products for the largest eigenvalue",
)
def hessian_eigenvalues(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Shaped[Tensor, "N *target"],
    *,
    k: int = 1,
    which: Literal["largest", "smallest"] = "largest",
    matrix: Matrix = "hessian",
    loss: str | Callable[[Tensor, Tensor], Tensor] = "cross_entropy",
    parameters: Sequence[str] | None = None,
    tolerance: float = 1e-3,
    iterations: int = 100,
    keep_vectors: bool = False,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> HessianEigenvalues:
    """Return the largest or smallest eigenvalues of the curvature of the mean loss in the weights.

    ``λ_max = max_v v'Hv / v'v`` with ``H = ∇²_θ (1/N) Σ ℓ``: the sharpness, above 2/η of which gradient descent with
    step size η leaves a minimum. Eigenvalues count with their sign: a large negative one is not the largest. The
    reduction is the mean, a sum multiplies by N; weight decay λ is not in it and adds λ. Every value comes with a
    measured residual; near-equal values among the ``k`` may be missed where they are copies of each other.

    Args:
        model: any module that can be differentiated twice; run in evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        labels: (N,) class numbers, int64, or what the loss takes.
        k: number of eigenvalues.
        which: ``"largest"`` or ``"smallest"``.
        matrix: ``"hessian"``, see :class:`LossHessian`, or ``"gauss_newton"``, see :class:`GaussNewton`.
        loss: ``"cross_entropy"``, ``"squared"`` or a function that returns one value per sample.
        parameters: names of parameters or modules whose block is wanted; None for all with ``requires_grad``.
        tolerance: residual that counts as converged, above 0; single precision reaches about 1e-5.
        iterations: most products before the residuals are measured.
        keep_vectors: return the eigenvectors, K times the size of the weights.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        generator: draws the first direction; None for one seeded with 0.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, logits or products are not finite, the loss does not depend on
            the weights, or a batch-norm layer has no running statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Cost:
        Memory for graphs, see :class:`LossHessian`, and 8·P bytes for each product.

    Example:
        >>> inputs = torch.eye(3)
        >>> record = hessian_eigenvalues(nn.Linear(3, 1, bias=False), inputs, torch.zeros(3, 1), loss="squared")
        >>> round(record.values.item(), 6), bool(record.converged)
        (0.333333, True)
    """
    operator = operator_of(matrix, model, inputs, labels, loss=loss, parameters=parameters, chunk_size=chunk_size)
    generator = default_generator(generator)
    start = torch.randn(operator.shape[0], generator=generator, device=generator.device, dtype=torch.float64)
    found = lanczos_eigenpairs(
        lambda vector: operator.matmat(vector.unsqueeze(1)).squeeze(1),
        start.to(operator.device),
        k=k,
        which=which,
        tolerance=tolerance,
        iterations=iterations,
        generator=generator,
    )
    values, errors = found.values.cpu(), found.residuals.cpu()
    return HessianEigenvalues(
        values=values,
        residuals=torch.where(errors > 0, errors / values.abs(), 0),
        errors=errors,
        converged=found.converged.cpu(),
        vectors=found.vectors.cpu() if keep_vectors else None,
        which=which,
        matrix=matrix,
        parameters=operator.shape[0],
        samples=operator.samples,
        products=found.products,
        passes=operator.passes,
    )


def operator_of(matrix: str, *given: Any, **options: Any) -> CurvatureOperator:
    """Return the operator by the name of its matrix.

    Args:
        matrix: ``"hessian"`` or ``"gauss_newton"``.
        given: its arguments.
        options: its options.

    Raises:
        ValueError: if the name is not known.
    """
    if matrix not in MATRICES:
        raise ValueError(f"matrix must be one of {', '.join(map(repr, MATRICES))}, got {matrix!r}")
    return MATRICES[matrix](*given, **options)
