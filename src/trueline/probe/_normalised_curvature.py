"""Normalised curvature of a network in its input, by Srinivas et al. (2022)."""

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
from trueline.numerics import Interval
from trueline.probe._derivative_norms import DerivativeNorms, derivative_norms

_EPSILON = 1e-6  # added to the gradient norm


@dataclass(frozen=True, eq=False)
class NormalisedCurvature(Record):
    """Curvature of a scalar of the network at each sample, relative to its slope; arrays of shape (N,).

    Args:
        curvature: ``hessian_norm / (gradient_norm + 1e-6)``, per unit of the input. Its inverse is, roughly, the
            shortest distance over which the gradient changes by its own length.
        hessian_norm: largest absolute eigenvalue of the Hessian, 0 where the function is linear around the sample; a
            lower bound where not converged.
        gradient_norm: Euclidean length of the gradient.
        converged: whether ``‖Hv - θv‖ <= 0.001·|θ|`` for the eigenvalue θ found and its vector v; an eigenvalue is then
            within that distance of θ, as a rule much nearer.
        iterations: Hessian-vector products spent on the sample.
        mean: mean of ``curvature`` and its 95 % Student interval; infinite for one sample.
        of: ``"loss"`` or ``"logit"``, what was differentiated.
        passes: passes through the model, forward or backward, all samples together; a Hessian-vector product is two.
            Samples of a chunk pass together until the last has converged.
    """

    curvature: Float[Tensor, " N"]
    hessian_norm: Float[Tensor, " N"]
    gradient_norm: Float[Tensor, " N"]
    converged: Bool[Tensor, " N"]
    iterations: Int64[Tensor, " N"]
    mean: Interval
    of: str
    passes: int

    units: ClassVar[Mapping[str, str]] = {
        "curvature": "1 / unit of the input",
        "hessian_norm": "unit of the output / unit of the input squared",
        "gradient_norm": "unit of the output / unit of the input",
        "mean": "1 / unit of the input",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        samples = len(self.curvature)
        flat, short = int((self.hessian_norm == 0).sum()), int((~self.converged).sum())
        median, largest = self.curvature.median().item(), self.curvature.max().item()
        lines = [
            f"normalised curvature of the {self.of} at {samples} samples: mean {self.mean.value:.4g} "
            f"(95 % interval {self.mean.low:.4g} to {self.mean.high:.4g}), median {median:.4g}, largest {largest:.4g}"
        ]
        if short:
            lines.append(f"{short} not converged: their values are lower bounds; raise iterations")
        if flat:
            lines.append(f"{flat} with a Hessian of exactly zero: piecewise linear there, as ReLU networks' logits are")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given curvature, and the mean.

        The background is transparent and the colours read on light and on dark pages.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.curvature,
            f"normalised curvature of the {self.of}",
            mean=self.mean.value,
            purpose="NormalisedCurvature.plot()",
        )


@method(
    Reference(
        authors="Suraj Srinivas, Kyle Matoba, Himabindu Lakkaraju, François Fleuret",
        title="Efficient Training of Low-Curvature Neural Networks",
        venue="NeurIPS",
        year=2022,
        arxiv="2206.07144",
    ),
    Reference(
        authors="Cornelius Lanczos",
        title="An Iteration Method for the Solution of the Eigenvalue Problem of Linear Differential and Integral "
        "Operators",
        venue="Journal of Research of the National Bureau of Standards",
        year=1950,
        doi="10.6028/jres.045.026",
    ),
    cost="a forward and a backward pass, and two passes for each iteration; a copy of the inputs for each iteration",
)
def normalised_curvature(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"] | None = None,
    *,
    of: Literal["loss", "logit"] = "loss",
    iterations: int = 20,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> NormalisedCurvature:
    """Return how fast the gradient in the input turns, relative to its length, at each sample.

    ``C(x) = ‖∇²f(x)‖₂ / (‖∇f(x)‖₂ + ε)`` with ε = 1e-6, where f is the cross-entropy of the label or the logit of its
    class. Gradients are stable under perturbations much smaller than 1/C. Of a logit, C is the same for any multiple of
    f, as long as the slope is far above ε. A network of ReLUs and max-pooling has piecewise linear logits, whose
    Hessian is zero wherever it exists: C is then 0 and says nothing about the kinks; steer the network first. The
    Hessian of its loss is that of the softmax alone.

    The spectral norm is found from Hessian-vector products by double backpropagation, with the Lanczos iteration, whose
    value is never above the truth and never falls. It takes the place of the authors' power iteration, which needs more
    products and whose steps grow small before it has arrived. A sample is done when it has converged.

    Args:
        model: any module that can be differentiated twice, from inputs to logits (N, C), or (N,) or (N, 1) log-odds of
            class 1 of two, which are then the logit. It is run in evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        labels: (N,) class numbers, int64, or None for the predicted classes.
        of: ``"loss"`` in nats, or ``"logit"``.
        iterations: most Hessian-vector products a sample, at least 1.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        generator: draws the direction that the iteration begins with; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, logits or derivatives are not finite, the output does not depend on
            the input, or a batch-norm layer has no running statistics, so that samples depend on each other.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> record = normalised_curvature(model, torch.zeros(5, 3), of="logit")
        >>> record.curvature.shape, bool((record.curvature >= 0).all())
        (torch.Size([5]), True)
        >>> normalised_curvature(nn.Linear(3, 2), torch.zeros(5, 3), of="logit").mean.value
        0.0
    """
    check_samples(model, inputs, labels, chunk_size)
    if of not in ("loss", "logit"):
        raise ValueError(f"of must be 'loss' or 'logit', got {of!r}")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    generator = default_generator(generator)
    # One start for all samples: the value of a sample then does not depend on its place among the others.
    start = torch.randn(inputs.shape[1:], generator=generator, device=generator.device, dtype=inputs.dtype)
    start = start.to(inputs.device)
    parts: list[DerivativeNorms] = []
    with torch.inference_mode(mode=False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), left_as_found(model):
        for first, (rows, classes) in chunks(chunk_size, inputs, labels):
            assert rows is not None
            point = rows.detach().clone().requires_grad_()
            values = class_values(run_logits(model, point), classes, of)
            parts.append(derivative_norms(values, point, start.expand_as(point), iterations, first=first))
    gradient, hessian, converged, products = (torch.cat(each) for each in zip(*parts, strict=True))
    curvature = hessian / (gradient + _EPSILON)
    return NormalisedCurvature(
        curvature=curvature,
        hessian_norm=hessian,
        gradient_norm=gradient,
        converged=converged,
        iterations=products,
        mean=Interval.of_mean(curvature),
        of=of,
        passes=sum(len(part.gradient) * 2 * (1 + int(part.products.max())) for part in parts),
    )
