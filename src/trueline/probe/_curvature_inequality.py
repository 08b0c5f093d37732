"""How the curvature in the input is held by the curvature in the parameters of the first layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import (
    Record,
    Reference,
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
from trueline.probe._derivative_norms import check_twice_differentiable, hessian_product
from trueline.probe._gradient_inequality import FirstLayer
from trueline.probe._hessian_eigenvalues import LANCZOS

_TOLERANCE = 1e-3  # residual of an eigenvector, relative to its eigenvalue, that counts as convergence


@dataclass(frozen=True, eq=False)
class CurvatureInequality(Record):
    """Both sides of ``lower <= first`` at each sample; arrays of shape (N,).

    Args:
        lower: ``(‖x‖² / ‖W₁‖₂²) · ‖∇²_x f‖₂``; for a convolution, with the smallest patch in the place of x.
        first: ``‖∇²_W₁ f‖₂`` in the first layer's weight.
        input_norm: ``‖∇²_x f‖₂``, the largest absolute eigenvalue.
        converged: whether both eigenvectors are ones to a part in a thousand; otherwise the norms are lower bounds.
        norm: ``‖W₁‖₂``; of a convolution, as a map of images of this size.
        layer: the parameter W₁.
        scope: ``"dense"``, or ``"unshared convolution"``: each position then has a weight of its own.
        of: ``"loss"`` or ``"logit"``, what was differentiated.
    """

    lower: Float[Tensor, " N"]
    first: Float[Tensor, " N"]
    input_norm: Float[Tensor, " N"]
    converged: Bool[Tensor, " N"]
    norm: float
    layer: str
    scope: str
    of: str

    units: ClassVar[Mapping[str, str]] = {
        "lower": "unit of the output / unit of the parameters²",
        "first": "unit of the output / unit of the parameters²",
        "input_norm": "unit of the output / unit of the input²",
        "norm": "unit of the first layer's output / unit of the input",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        some = self.first > 0
        share = (self.lower[some] / self.first[some]).mean().item() if some.any() else 1.0
        lines = [
            f"curvature of the {self.of} at {len(self.lower)} samples, {self.scope} first layer {self.layer}: in the "
            f"input {self.input_norm.mean():.4g}, in the layer's weight {self.first.mean():.4g} on average; the "
            f"input's side of the inequality is {share:.3g} of the weight's"
        ]
        if flat := int((~some).sum()):
            lines.append(f"{flat} with a Hessian of exactly zero: piecewise linear there, as ReLU networks' logits are")
        if short := int((~self.converged).sum()):
            lines.append(f"{short} not converged: their norms are lower bounds; raise iterations")
        if self.scope != "dense":
            lines.append("each position counts with a weight of its own")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given ratio of the two sides.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        some = self.first > 0
        return distribution_chart(
            self.lower[some] / self.first[some],
            "input's side / curvature in the first layer's weight",
            purpose="CurvatureInequality.plot()",
        )


@method(
    Reference(
        authors="Chao Ma, Lexing Ying",
        title="On Linear Stability of SGD and Input-Smoothness of Neural Networks",
        venue="NeurIPS",
        year=2021,
        arxiv="2105.13462",
    ),
    LANCZOS,
    cost="two forward and backward passes, and two passes for each of two iterations",
)
def curvature_inequality(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"] | None = None,
    *,
    of: Literal["loss", "logit"] = "loss",
    iterations: int = 30,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> CurvatureInequality:
    """Return both sides of the inequality between the curvatures in the input and in the first layer's weight.

    With ``f(x) = h(z)`` and ``z = W₁x + b₁``: ``∇²_x f = W₁ᵀ·∇²_z h·W₁`` and ``‖∇²_W₁ f‖₂ = ‖∇²_z h‖₂·‖x‖²``, hence
    ``(‖x‖² / ‖W₁‖₂²) · ‖∇²_x f‖₂ <= ‖∇²_W₁ f‖₂``: a function that is flat in its parameters is flat in its input. It is
    to second derivatives what :func:`gradient_inequality`, after Ma and Ying, is to first ones; the step is ours.

    A convolution counts as a layer in which each position p has a weight of its own, with
    ``‖∇²_W₁ f‖₂ = ‖D·∇²_z h·D‖₂``, D the lengths ``‖x_p‖`` of the patches, and the smallest of them for ``‖x‖`` on the
    left. The weight that the positions share has another curvature, about which nothing is said.

    Args:
        model: any module that can be differentiated twice, as :func:`gradient_inequality` needs it. It is run in
            evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        labels: (N,) class numbers, int64, or None for the predicted classes.
        of: f: ``"loss"`` in nats, or ``"logit"`` of the class.
        iterations: most Hessian-vector products of each side, at least 1.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        generator: draws the directions that the iterations begin with; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if the first operation with parameters is no linear layer or convolution, does not see the input
            itself, runs twice, or is not the only way from the input to the output; or an argument is out of range.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> record = curvature_inequality(model, torch.ones(5, 3), torch.tensor([0, 1, 0, 1, 1]))
        >>> bool((record.lower <= record.first).all()), record.layer, record.scope
        (True, '0.weight', 'dense')
    """
    check_samples(model, inputs, labels, chunk_size)
    if of not in ("loss", "logit"):
        raise ValueError(f"of must be 'loss' or 'logit', got {of!r}")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    generator = default_generator(generator)
    parts: list[list[Tensor]] = []
    with torch.inference_mode(mode=False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), left_as_found(model):
        sample = inputs[:1].detach().clone()
        with torch.no_grad(), FirstLayer(model, sample) as found:
            run_logits(model, sample.clone())
        if not found.layer:
            raise ValueError("the model runs no operation with parameters, and so has no first layer")
        norm = found.norm()
        starts = [
            torch.randn(sizes, generator=generator, device=generator.device, dtype=torch.float64).to(inputs.device)
            for sizes in (sample[0].numel(), found.output[0].numel())
        ]
        for number, (rows, classes) in chunks(chunk_size, inputs, labels):
            assert rows is not None
            point = rows.detach().clone().requires_grad_()
            with FirstLayer(model, point) as first:
                outputs = run_logits(model, point.clone())
            if not outputs.requires_grad or not first.output.requires_grad:
                raise ValueError(
                    "the model's output does not depend on its input in a differentiable way; look for detach()"
                )
            slope, inside = first.gradients(class_values(outputs, classes, of), point, create_graph=True)
            check_twice_differentiable(slope)
            seen = first.seen()
            lengths = seen.sqrt().expand(first.output.shape).flatten(1)
            outer, outer_done = _norms(slope, point, torch.ones_like(point).flatten(1), starts[0], iterations, number)
            inner, inner_done = _norms(inside, first.output, lengths, starts[1], iterations, number)
            ratio = seen.flatten(1).amin(dim=1) / norm**2 if norm else torch.zeros_like(outer)
            columns = (ratio * outer, inner, outer, outer_done & inner_done)
            parts.append([column.cpu() for column in columns])
    lower, weight, own, converged = (torch.cat(column) for column in zip(*parts, strict=True))
    return CurvatureInequality(
        lower=lower,
        first=weight,
        input_norm=own,
        converged=converged,
        norm=norm,
        layer=found.layer,
        scope=found.scope,
        of=of,
    )


def _norms(
    gradient: Tensor, point: Tensor, lengths: Tensor, start: Tensor, iterations: int, first: int
) -> tuple[Tensor, Tensor]:
    """Return the spectral norm of ``D·H·D`` of each sample with D its lengths, and whether it has converged."""
    lengths = lengths.double()
    norm = lengths.new_zeros(len(lengths))
    converged = torch.zeros_like(norm, dtype=torch.bool)
    space = KrylovSpace(start.expand(len(lengths), -1))
    for _ in range(iterations):
        space.grow(lengths * hessian_product(gradient, point, lengths * space.direction, first))
        values, _, residuals = space.ritz()
        size, place = values.abs().max(dim=1)
        # A sample that has converged keeps its norm, and so does not depend on how long others take.
        norm = torch.where(converged, norm, size)
        converged = converged | (residuals.gather(1, place[:, None]).squeeze(1) <= _TOLERANCE * size)
        if converged.all():
            break
    return norm, converged
