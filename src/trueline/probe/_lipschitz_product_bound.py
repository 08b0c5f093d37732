"""An upper bound on the Lipschitz constant of a network: the product of the norms of its operations."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import (
    NEUTRAL,
    Record,
    Reference,
    check_samples,
    import_optional,
    left_as_found,
    method,
    plain_chart,
    run_logits,
)
from trueline.probe._lipschitz_watch import LipschitzLayer, LipschitzWatch
from trueline.probe._operator_norm import TOLERANCE


@dataclass(frozen=True, eq=False)
class LipschitzBound(Record):
    """An upper bound on the Lipschitz constant of a network from inputs to outputs, in Euclidean norms.

    Args:
        bound: ``‖f(x) - f(x')‖ <= bound · ‖x - x'‖`` for all inputs of this shape.
        norms: (L,) norm of each operation, in the order of execution.
        layers: the operations.
        blocks: bound of each module that contains others and took one tensor, by its name: what comes out against what
            goes in.
        converged: whether all norms that were found by iteration have a relative residual of 1e-5 at most.
    """

    bound: float
    norms: Float[Tensor, " L"]
    layers: tuple[LipschitzLayer, ...]
    blocks: dict[str, float]
    converged: bool

    units: ClassVar[Mapping[str, str]] = {
        "bound": "unit of the output / unit of the input",
        "norms": "1",
        "blocks": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        largest = max(self.layers, key=lambda layer: layer.norm, default=None)
        lines = [f"the Lipschitz constant is at most {self.bound:.4g}, from {len(self.layers)} operations"]
        if largest is not None:
            lines.append(f"largest factor: {largest.norm:.4g} by {largest.operation} in {largest.owner or 'the model'}")
        if not self.converged:
            lines.append("some norms have not converged: the bound may be too small")
        return "\n".join([*lines, "a bound for all inputs: as a rule far above what is met on data"])

    def plot(self) -> Any:
        """Return an Altair chart: the bound after each operation, on a logarithmic axis.

        The background is transparent and the colours read on light and on dark pages.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="LipschitzBound.plot()")
        rows = [
            {"number": number, "bound": layer.bound, "where": f"{layer.owner}: {layer.operation}"}
            for number, layer in enumerate(self.layers, start=1)
            if 0 < layer.bound < math.inf
        ]
        chart = alt.Chart(alt.Data(values=rows)).mark_line(color=NEUTRAL, point=True)
        return plain_chart(
            chart.encode(
                x=alt.X("number:Q", title="operation"),
                y=alt.Y("bound:Q", title="Lipschitz bound so far", scale=alt.Scale(type="log")),
                tooltip=["where:N", alt.Tooltip("bound:Q", format=".3g")],
            )
        )


@method(
    Reference(
        authors="Christian Szegedy, Wojciech Zaremba, Ilya Sutskever, Joan Bruna, Dumitru Erhan, Ian Goodfellow, "
        "Rob Fergus",
        title="Intriguing properties of neural networks",
        venue="ICLR",
        year=2014,
        arxiv="1312.6199",
    ),
    Reference(
        authors="Matteo Gamba, Hossein Azizpour, Mårten Björkman",
        title="On the Lipschitz Constant of Deep Networks and Double Descent",
        venue="BMVC",
        year=2023,
        arxiv="2301.12309",
    ),
    cost="a forward pass of one sample; some ten to hundreds of products with each convolution and its transpose",
)
def lipschitz_product_bound(model: nn.Module, example: Float[Tensor, "N *shape"]) -> LipschitzBound:
    """Return an upper bound on how far two outputs can be apart, relative to their inputs.

    ``Lip(f) <= Π_l ‖W_l‖₂`` along a chain; a sum adds the bounds of its terms, so that a residual block has
    ``Lip(shortcut) + Lip(branch)``; a join has the root of the sum of their squares. The operations of one forward pass
    in evaluation mode are watched as they are executed, whether modules, functions or methods, in place or reused; what
    leaves PyTorch, for NumPy say, is not seen.

    A convolution has the norm of the map on images of this size, with its padding and stride, not of its reshaped
    kernel. Activations have their largest slope; batch norm the largest ``|γ|/sqrt(variance + ε)``; max-pooling the
    root of how many windows see one entry; layer and group norm ``max|γ|/sqrt(ε)``, which holds but is large.

    Norms without a formula come from the Lanczos iteration in double precision, which approaches them from below; they
    are raised by what the residual leaves open, a relative 5e-6 at most if it has converged.

    Args:
        model: any module from inputs to outputs. It is run in evaluation mode and left as found.
        example: (N, ...) inputs of the shape in question, floating point, on the model's device; the first is run.

    Returns:
        The record, its tensors float64 on the CPU.

    Raises:
        ValueError: if an operation has no Lipschitz constant or an unknown one, such as the product of two things that
            both depend on the input (attention); its name and its module's are given. Also if a value of the input
            decides what is computed, logits are not finite, or a batch-norm layer has no running statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU())
        >>> _ = model[0].weight.data.copy_(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
        >>> print(round(lipschitz_product_bound(model, torch.zeros(1, 2)).bound, 6))
        4.0
    """
    check_samples(model, example)
    with torch.inference_mode(mode=False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), left_as_found(model):
        sample = example[:1].detach().clone()
        watch = LipschitzWatch(model, sample)
        bound = watch.bound_of(run_logits(_Watched(model, watch), sample))
    layers = tuple(watch.layers)
    return LipschitzBound(
        bound=bound,
        norms=torch.tensor([layer.norm for layer in layers], dtype=torch.float64),
        layers=layers,
        blocks=watch.blocks,
        converged=all(layer.residual <= TOLERANCE for layer in layers),
    )


class _Watched(nn.Module):
    """Runs a model under watch, and nothing else."""

    def __init__(self, model: nn.Module, watch: LipschitzWatch) -> None:
        super().__init__()
        self.model = model
        self.watch = watch

    def forward(self, inputs: Tensor) -> Tensor:
        with self.watch.modules(), self.watch:
            outputs: Tensor = self.model(inputs)
        return outputs
