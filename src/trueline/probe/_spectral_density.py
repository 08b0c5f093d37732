"""The density of the eigenvalues of the loss's curvature in the weights, by stochastic Lanczos quadrature."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from trueline.contracts import ACCENT, Record, Reference, default_generator, import_optional, method, plain_chart
from trueline.numerics import lanczos_quadrature
from trueline.probe._hessian_eigenvalues import SAID, Matrix, operator_of

_BEYOND = 5  # standard deviations of the smoothing that the grid goes beyond the outermost nodes
_GRID = 1001  # smallest number of points
_PER_WIDTH = 4  # points in a standard deviation of the smoothing


@dataclass(frozen=True, eq=False)
class SpectralDensity(Record):
    """The share of eigenvalues by size, smoothed by a normal density.

    Args:
        nodes: (S, M) where the quadrature of each start puts mass, in ascending order.
        weights: (S, M) the masses; those of a start add up to 1. A start that reached fewer than M nodes repeats its
            last one with mass 0.
        grid: (G,) eigenvalues.
        density: (G,) mean density over starts; it integrates to 1.
        error: (G,) its standard error over starts; infinite for one start.
        width: standard deviation of the smoothing, below which no detail is real.
        matrix: ``"hessian"`` or ``"gauss_newton"``.
        parameters: P, weights that the matrix is of.
        samples: N, that the loss is a mean over.
        passes: passes of a sample through the model, forward or backward.
    """

    nodes: Float[Tensor, "S M"]
    weights: Float[Tensor, "S M"]
    grid: Float[Tensor, " G"]
    density: Float[Tensor, " G"]
    error: Float[Tensor, " G"]
    width: float
    matrix: str
    parameters: int
    samples: int
    passes: int

    units: ClassVar[Mapping[str, str]] = {
        "nodes": "unit of the loss / unit of the weights squared",
        "weights": "1",
        "grid": "unit of the loss / unit of the weights squared",
        "density": "unit of the weights squared / unit of the loss",
        "error": "unit of the weights squared / unit of the loss",
        "width": "unit of the loss / unit of the weights squared",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        low, high = self.nodes.min().item(), self.nodes.max().item()
        starts = len(self.nodes)
        near = ((self.nodes.abs() <= 2 * self.width) * self.weights).sum(dim=1)
        text = (
            f"eigenvalues of the {SAID[self.matrix]} lie from {low:.4g} or below to {high:.4g} or above; "
            f"{100 * near.mean():.1f} % of them within {2 * self.width:.2g} of zero "
            f"({self.parameters:,} weights, {self.samples:,} samples, {starts} starts)"
        )
        return text if starts > 1 else f"{text}\none start: there is no error to judge the density by; raise starts"

    def plot(self) -> Any:
        """Return an Altair chart: the density on a logarithmic axis, on which a few large eigenvalues show.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="SpectralDensity.plot()")
        floor = self.density.max().item() * 1e-8  # what smoothing leaves between eigenvalues says nothing
        pairs = zip(self.grid.tolist(), self.density.clamp_min(floor).tolist(), strict=True)
        chart = alt.Chart(alt.Data(values=[{"value": v, "density": d} for v, d in pairs]))
        x = alt.X("value:Q", title=f"eigenvalue of the {SAID[self.matrix]}")
        y = alt.Y("density:Q", title="density", scale=alt.Scale(type="log"))
        return plain_chart(chart.mark_line(color=ACCENT).encode(x=x, y=y))


@method(
    Reference(
        authors="Lin Lin, Yousef Saad, Chao Yang",
        title="Approximating Spectral Densities of Large Matrices",
        venue="SIAM Review",
        year=2016,
        arxiv="1308.5467",
        doi="10.1137/130934283",
    ),
    Reference(
        authors="Behrooz Ghorbani, Shankar Krishnan, Ying Xiao",
        title="An Investigation into Neural Net Optimization via Hessian Eigenvalue Density",
        venue="ICML",
        year=2019,
        arxiv="1901.10159",
    ),
    cost="two passes through the model for each of starts times steps products",
)
def spectral_density(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Shaped[Tensor, "N *target"],
    *,
    steps: int = 60,
    starts: int = 4,
    width: float = 0.005,
    matrix: Matrix = "hessian",
    loss: str | Callable[[Tensor, Tensor], Tensor] = "cross_entropy",
    parameters: Sequence[str] | None = None,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> SpectralDensity:
    """Return the density of the eigenvalues of the curvature of the mean loss in the weights.

    ``φ(t) = (1/P) Σ_i N(t; λ_i, σ²)`` is the trace of a function of the matrix. Of each random start u the Lanczos
    iteration gives nodes θ and weights w with ``u'f(H)u ≈ Σ w·f(θ)``; the density is the mean over starts of
    ``Σ w·N(t; θ, σ²)``. It integrates to 1.

    Args:
        model: any module that can be differentiated twice; run in evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        labels: (N,) class numbers, int64, or what the loss takes.
        steps: products for each start, the number of nodes, at least 1.
        starts: random directions, at least 1; two or more give a standard error.
        width: σ as a share of the distance between the outermost nodes, in (0, 1).
        matrix: ``"hessian"`` or ``"gauss_newton"``.
        loss: ``"cross_entropy"``, ``"squared"`` or a function that returns one value per sample.
        parameters: names of parameters or modules whose block is wanted; None for all with ``requires_grad``.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        generator: draws the starts; None for one seeded with 0.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, logits or products are not finite, the loss does not depend on
            the weights, or a batch-norm layer has no running statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> inputs = torch.tensor([[2.0, 0.0], [0.0, 1.0]])  # eigenvalues 2 and 1/2
        >>> record = spectral_density(nn.Linear(2, 1, bias=False), inputs, torch.zeros(2, 1), loss="squared")
        >>> [round(value, 6) for value in record.nodes[0].tolist()]
        [0.5, 2.0]
        >>> round(torch.trapezoid(record.density, record.grid).item(), 5)
        1.0
    """
    if steps < 1 or starts < 1:
        raise ValueError(f"steps and starts must be at least 1, got {steps} and {starts}")
    if not 0 < width < 1:
        raise ValueError(f"width must lie strictly between 0 and 1, got {width}")
    operator = operator_of(matrix, model, inputs, labels, loss=loss, parameters=parameters, chunk_size=chunk_size)
    generator = default_generator(generator)
    found = []
    for _ in range(starts):
        start = torch.randn(operator.shape[0], generator=generator, device=generator.device, dtype=torch.float64)
        pair = lanczos_quadrature(
            lambda vector: operator.matmat(vector.unsqueeze(1)).squeeze(1), start.to(operator.device), steps=steps
        )
        found.append([part.cpu() for part in pair])
    longest = max(len(nodes) for nodes, _ in found)
    nodes = torch.stack([torch.cat([n, n[-1:].expand(longest - len(n))]) for n, _ in found])
    weights = torch.stack([torch.cat([w, w.new_zeros(longest - len(w))]) for _, w in found])
    low, high = nodes.min().item(), nodes.max().item()
    # A matrix with one eigenvalue only has no extent to take a share of.
    deviation = width * ((high - low) or abs(high) or 1.0)
    margin = _BEYOND * deviation
    points = max(_GRID, math.ceil(_PER_WIDTH * (high - low + 2 * margin) / deviation) + 1)
    grid = torch.linspace(low - margin, high + margin, points, dtype=torch.float64)
    each = torch.stack([_smoothed(n, w, grid, deviation) for n, w in zip(nodes, weights, strict=True)])
    error = each.std(dim=0) / math.sqrt(starts) if starts > 1 else torch.full_like(grid, math.inf)
    return SpectralDensity(
        nodes=nodes,
        weights=weights,
        grid=grid,
        density=each.mean(dim=0),
        error=error,
        width=deviation,
        matrix=matrix,
        parameters=operator.shape[0],
        samples=operator.samples,
        passes=operator.passes,
    )


def _smoothed(nodes: Tensor, weights: Tensor, grid: Tensor, deviation: float) -> Tensor:
    """Return the sum of normal densities at the nodes, weighted."""
    bells = torch.exp(-(((grid[:, None] - nodes) / deviation) ** 2) / 2)
    return (bells @ weights) / (deviation * math.sqrt(2 * math.pi))
