"""The trace and the Frobenius norm of the loss's curvature in the weights, layer by layer, by Hutchinson (1989)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from trueline.contracts import Record, Reference, default_generator, distribution_chart, method
from trueline.numerics import trace_estimate
from trueline.probe._curvature_operator import layer_names
from trueline.probe._hessian_eigenvalues import SAID, Matrix, operator_of

HUTCHINSON = Reference(
    authors="Michael F. Hutchinson",
    title="A Stochastic Estimator of the Trace of the Influence Matrix for Laplacian Smoothing Splines",
    venue="Communications in Statistics - Simulation and Computation",
    year=1989,
    doi="10.1080/03610918908812806",
)


@dataclass(frozen=True, eq=False)
class HessianTrace(Record):
    """Trace and Frobenius norm of the curvature of the mean loss, with what chance leaves open.

    Args:
        estimates: (K,) the trace by each probe alone.
        layer_traces: (L,) trace of the block of each layer; they add up to the trace.
        layer_errors: (L,) their standard errors; infinite for one probe.
        layers: (L,) names of the modules that own weights.
        trace: mean of the estimates, the sum of all eigenvalues.
        standard_error: of the trace; infinite for one probe.
        frobenius: root of the sum of the squared eigenvalues.
        frobenius_error: its standard error, to first order.
        matrix: ``"hessian"`` or ``"gauss_newton"``.
        parameters: P, weights that the matrix is of.
        samples: N, that the loss is a mean over.
        passes: passes of a sample through the model, forward or backward.
    """

    estimates: Float[Tensor, " K"]
    layer_traces: Float[Tensor, " L"]
    layer_errors: Float[Tensor, " L"]
    layers: tuple[str, ...]
    trace: float
    standard_error: float
    frobenius: float
    frobenius_error: float
    matrix: str
    parameters: int
    samples: int
    passes: int

    units: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            "estimates",
            "layer_traces",
            "layer_errors",
            "trace",
            "standard_error",
            "frobenius",
            "frobenius_error",
        ),
        "unit of the loss / unit of the weights squared",
    )

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [
            f"trace of the {SAID[self.matrix]}: {self.trace:.5g} ± {self.standard_error:.2g} (standard error of "
            f"{len(self.estimates)} probes), Frobenius norm {self.frobenius:.4g} ± {self.frobenius_error:.2g} "
            f"({self.parameters:,} weights, {self.samples:,} samples)"
        ]
        largest = int(self.layer_traces.argmax())
        lines.append(
            f"the layer with the largest share is {self.layers[largest] or 'the model itself'}: "
            f"{self.layer_traces[largest]:.4g} ± {self.layer_errors[largest]:.2g}"
        )
        if self.standard_error > 0.1 * abs(self.trace):
            lines.append("the standard error is above a tenth of the trace: raise probes")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of probes with at most a given estimate, and their mean.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        title = f"trace of the {SAID[self.matrix]}, by probe"
        return distribution_chart(self.estimates, title, mean=self.trace, purpose="HessianTrace.plot()")


@method(HUTCHINSON, cost="two passes through the model for each probe")
def hessian_trace(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Shaped[Tensor, "N *target"],
    *,
    probes: int = 16,
    relative_error: float | None = None,
    matrix: Matrix = "hessian",
    loss: str | Callable[[Tensor, Tensor], Tensor] = "cross_entropy",
    parameters: Sequence[str] | None = None,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> HessianTrace:
    """Return the trace and the Frobenius norm of the curvature of the mean loss in the weights, with standard errors.

    ``tr H ≈ mean z'Hz`` and ``‖H‖_F² ≈ mean ‖Hz‖²`` over vectors z of random signs. The trace of a layer's block is
    estimated from the same products as ``z_l'(Hz)_l``; what other layers add to it has mean zero. At a minimum where
    every sample is fitted, stochastic gradient descent with one sample a step and step size η needs ``tr H <= 2/η``;
    the loss says whether that is so. For cross-entropy, :func:`fisher_trace` gives the trace of the Gauss-Newton matrix
    exactly and sample by sample.

    Args:
        model: any module that can be differentiated twice; run in evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        labels: (N,) class numbers, int64, or what the loss takes.
        probes: most vectors, at least 1.
        relative_error: stop once the standard error is at most this share of the trace, but not before 8 probes;
            None to use all. Stopping on the spread makes the error a little too small.
        matrix: ``"hessian"`` or ``"gauss_newton"``.
        loss: ``"cross_entropy"``, ``"squared"`` or a function that returns one value per sample.
        parameters: names of parameters or modules whose block is wanted; None for all with ``requires_grad``.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        generator: draws the signs; None for one seeded with 0.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, logits or products are not finite, the loss does not depend on
            the weights, or a batch-norm layer has no running statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> inputs = torch.eye(3)
        >>> record = hessian_trace(nn.Linear(3, 1, bias=False), inputs, torch.zeros(3, 1), loss="squared")
        >>> round(record.trace, 6), round(record.standard_error, 6)  # a diagonal matrix: every probe is exact
        (1.0, 0.0)
    """
    operator = operator_of(matrix, model, inputs, labels, loss=loss, parameters=parameters, chunk_size=chunk_size)
    found = trace_estimate(
        operator.matmat,
        operator.shape[0],
        probes=probes,
        relative_error=relative_error,
        parts=operator.sizes,
        device=operator.device,
        generator=default_generator(generator),
    )
    layers = layer_names(operator.names)
    places = {name: place for place, name in enumerate(operator.names)}
    blocks = torch.stack([found.parts[:, [places[n] for n in owned]].sum(dim=1) for owned in layers.values()], dim=1)
    count = len(blocks)
    spread = blocks.std(dim=0) / count**0.5 if count > 1 else torch.full_like(blocks[0], torch.inf)
    return HessianTrace(
        estimates=found.estimates,
        layer_traces=blocks.mean(dim=0),
        layer_errors=spread,
        layers=tuple(layers),
        trace=found.trace,
        standard_error=found.standard_error,
        frobenius=found.frobenius,
        frobenius_error=found.frobenius_error,
        matrix=matrix,
        parameters=operator.shape[0],
        samples=operator.samples,
        passes=operator.passes,
    )
