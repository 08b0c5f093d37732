"""The curvature of the loss in the weights of each layer: the largest eigenvalue and the trace of its block."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn

from trueline.contracts import ACCENT, Record, default_generator, import_optional, method, plain_chart
from trueline.probe._curvature_operator import layer_names
from trueline.probe._hessian_eigenvalues import LANCZOS, SAID, Matrix, hessian_eigenvalues
from trueline.probe._hessian_trace import HUTCHINSON, hessian_trace


@dataclass(frozen=True, eq=False)
class LayerCurvature(Record):
    """The block of each layer's own weights on the diagonal of the matrix; arrays of shape (L,).

    Args:
        largest: largest eigenvalue of the block, at most that of the whole matrix.
        residuals: ``‖Hv - λv‖ / |λ|`` of it, measured.
        converged: whether the residual is at most the tolerance.
        traces: of the blocks, which add up to the trace of the whole matrix.
        trace_errors: standard errors; infinite for one probe.
        sizes: weights of each layer.
        layers: names of the modules that own weights.
        matrix: ``"hessian"`` or ``"gauss_newton"``.
        samples: N, that the loss is a mean over.
        passes: passes of a sample through the model, forward or backward.
    """

    largest: Float[Tensor, " L"]
    residuals: Float[Tensor, " L"]
    converged: Bool[Tensor, " L"]
    traces: Float[Tensor, " L"]
    trace_errors: Float[Tensor, " L"]
    sizes: Int64[Tensor, " L"]
    layers: tuple[str, ...]
    matrix: str
    samples: int
    passes: int

    units: ClassVar[Mapping[str, str]] = {
        "largest": "unit of the loss / unit of the weights squared",
        "residuals": "1",
        "traces": "unit of the loss / unit of the weights squared",
        "trace_errors": "unit of the loss / unit of the weights squared",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [f"blocks of the {SAID[self.matrix]} by layer: largest eigenvalue, trace ± standard error"]
        for place, name in enumerate(self.layers):
            mark = "" if self.converged[place] else ", not converged: a lower bound"
            lines.append(
                f"  {name or 'the model itself'} ({int(self.sizes[place]):,} weights): {self.largest[place]:.4g}, "
                f"{self.traces[place]:.4g} ± {self.trace_errors[place]:.2g}{mark}"
            )
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the largest eigenvalue of each layer, in the layers' order.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="LayerCurvature.plot()")
        pairs = zip(self.layers, self.largest.tolist(), strict=True)
        chart = alt.Chart(alt.Data(values=[{"layer": name, "value": value} for name, value in pairs]))
        y = alt.Y("layer:N", sort=list(self.layers), title=None)
        x = alt.X("value:Q", title=f"largest eigenvalue, {SAID[self.matrix]}")
        return plain_chart(chart.mark_bar(color=ACCENT).encode(x=x, y=y))


@method(
    LANCZOS,
    HUTCHINSON,
    cost="two passes through the model for each probe, and for each product of each layer, ten to thirty a layer",
)
def layer_curvature(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Shaped[Tensor, "N *target"],
    *,
    probes: int = 16,
    matrix: Matrix = "hessian",
    loss: str | Callable[[Tensor, Tensor], Tensor] = "cross_entropy",
    tolerance: float = 1e-3,
    iterations: int = 100,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> LayerCurvature:
    """Return the largest eigenvalue and the trace of each layer's block of the curvature of the mean loss.

    The block of a layer is ``∇²_{θ_l} L`` with the other layers' weights held: how sharp the loss is where this layer
    alone moves. A layer is a module that owns weights with ``requires_grad``. The trace of the whole matrix is the sum
    of the blocks' traces; no block has an eigenvalue above the largest of the whole.

    Args:
        model: any module that can be differentiated twice; run in evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        labels: (N,) class numbers, int64, or what the loss takes.
        probes: products that the traces are estimated from, all layers' together, at least 1.
        matrix: ``"hessian"`` or ``"gauss_newton"``.
        loss: ``"cross_entropy"``, ``"squared"`` or a function that returns one value per sample.
        tolerance: residual that counts as converged, above 0.
        iterations: most products for a layer's eigenvalue.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        generator: draws signs and first directions; None for one seeded with 0.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: as :func:`hessian_eigenvalues`.
        TypeError: as :func:`hessian_eigenvalues`.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2))
        >>> record = layer_curvature(model, torch.eye(3), torch.tensor([0, 1, 1]))
        >>> record.layers, record.sizes.tolist()
        (('0', '2'), [8, 6])
    """
    generator = default_generator(generator)
    traces = hessian_trace(
        model, inputs, labels, probes=probes, matrix=matrix, loss=loss, chunk_size=chunk_size, generator=generator
    )
    ends = [
        hessian_eigenvalues(
            model,
            inputs,
            labels,
            matrix=matrix,
            loss=loss,
            parameters=owned,
            tolerance=tolerance,
            iterations=iterations,
            chunk_size=chunk_size,
            generator=generator,
        )
        for owned in layer_names(name for name, value in model.named_parameters() if value.requires_grad).values()
    ]
    return LayerCurvature(
        largest=torch.cat([end.values for end in ends]),
        residuals=torch.cat([end.residuals for end in ends]),
        converged=torch.cat([end.converged for end in ends]),
        traces=traces.layer_traces,
        trace_errors=traces.layer_errors,
        sizes=torch.tensor([end.parameters for end in ends]),
        layers=traces.layers,
        matrix=matrix,
        samples=traces.samples,
        passes=traces.passes + sum(end.passes for end in ends),
    )
