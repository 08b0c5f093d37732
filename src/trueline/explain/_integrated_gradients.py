"""Integrated gradients, by Sundararajan, Taly and Yan (2017)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ClassValue, Explainer, Reference, chunks, method
from trueline.explain._gradient import Gradient


@method(
    Reference(
        authors="Mukund Sundararajan, Ankur Taly, Qiqi Yan",
        title="Axiomatic Attribution for Deep Networks",
        venue="ICML",
        year=2017,
        arxiv="1703.01365",
    ),
    cost="steps forward and backward passes",
)
@dataclass(frozen=True, eq=False)  # a baseline cannot be compared with ==
class IntegratedGradients(Explainer):
    """The mean gradient on the way from a baseline, times the way: ``(x - x₀) ⊙ ∫₀¹ ∂f_c(x₀ + α(x - x₀))/∂x dα``.

    A map adds up to ``f_c(x) - f_c(x₀)``, up to the error of the integral, which :func:`completeness_gap` measures. The
    integral is taken by Gauss and Legendre: exact for scores that are polynomials of degree ``2·steps`` along the way;
    a ReLU's corner makes the error fall as 1/steps only.

    Args:
        of: the score, see :func:`trueline.contracts.class_values`.
        steps: nodes of the integral, at least 1.
        baseline: of one sample's shape, or None for zero. It says what a missing entry looks like: in standardised
            images zero is the mean colour, in others black.
        nodes_at_once: nodes in one pass, at least 1; it changes the memory, not the answer.

    Raises:
        ValueError: if a number is out of range, or the baseline is not finite or not of one sample's shape.
        TypeError: if the baseline is not floating point.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> x = torch.tensor([[3.0, -1.0]])
        >>> map = IntegratedGradients().maps(model, x, torch.tensor([2]))
        >>> torch.allclose(map[0], model.weight[2] * x[0])
        True
    """

    of: ClassValue = "logit"
    steps: int = 50
    baseline: Float[Tensor, "..."] | None = None
    nodes_at_once: int = 10

    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, value in {"steps": self.steps, "nodes_at_once": self.nodes_at_once}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.baseline is not None:
            if not self.baseline.is_floating_point():
                raise TypeError(f"baseline must be floating point, got {self.baseline.dtype}; convert with .float()")
            if not self.baseline.isfinite().all():
                raise ValueError("baseline must be finite, got NaN or infinity")

    def __repr__(self) -> str:
        start = None if self.baseline is None else "x".join(map(str, self.baseline.shape)) + " tensor"
        return (
            f"{type(self).__name__}(of={self.of!r}, steps={self.steps}, baseline={start}, "
            f"nodes_at_once={self.nodes_at_once})"
        )

    def maps(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "B *shape"],
        target: Int64[Tensor, " B"],
        *,
        create_graph: bool = False,
    ) -> Float[Tensor, "B *shape"]:
        """Return the integrals, see :class:`trueline.contracts.Explainer`."""
        end = inputs if create_graph else inputs.detach()
        start = start_of(self.baseline, end)
        nodes, weights = _gauss_legendre(self.steps, inputs.device)
        mean = torch.zeros_like(end, dtype=torch.float64)
        for _, (places, shares) in chunks(self.nodes_at_once, nodes, weights):
            assert places is not None
            assert shares is not None
            shape = (-1, *(1 for _ in end.shape))
            points = start + places.to(end.dtype).view(shape) * (end - start)
            gradients = Gradient(self.of).maps(
                model, points.flatten(0, 1), target.repeat(len(places)), create_graph=create_graph
            )
            mean = mean + (shares.view(shape) * gradients.view(points.shape)).sum(dim=0)
        return (mean * (end - start)).to(inputs.dtype)


def start_of(baseline: Float[Tensor, "..."] | None, inputs: Float[Tensor, "B *shape"]) -> Float[Tensor, "*shape"]:
    """Return where the way to each input begins.

    Args:
        baseline: of one sample's shape, or None for zero.
        inputs: (B, ...) samples.

    Raises:
        ValueError: if the baseline is not of one sample's shape.
    """
    if baseline is None:
        return torch.zeros_like(inputs[0])
    if baseline.shape != inputs.shape[1:]:
        raise ValueError(
            f"baseline must have the shape {tuple(inputs.shape[1:])} of one sample, got {tuple(baseline.shape)}"
        )
    return baseline.detach().to(inputs)


def _gauss_legendre(steps: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the nodes in [0, 1] and their weights, which add up to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return torch.tensor((1 + nodes) / 2, device=device), torch.tensor(weights / 2, device=device)
