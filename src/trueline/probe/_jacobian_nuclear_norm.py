"""Nuclear norm of a network's Jacobian in its input: in how many directions it varies, after Scarvelis and Solomon."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import (
    Record,
    Reference,
    check_samples,
    chunks,
    distribution_chart,
    left_as_found,
    method,
    run_logits,
)
from trueline.numerics import Interval


@dataclass(frozen=True, eq=False)
class JacobianNuclearNorm(Record):
    """Singular values of the Jacobian of the logits at each sample, and what they sum to; R is the lesser of C and D.

    Args:
        nuclear_norm: (N,) sum of the singular values.
        spectral_norm: (N,) the largest one: how fast the logits change in the fastest direction.
        frobenius_norm: (N,) root of the sum of their squares.
        effective_rank: (N,) ``nuclear_norm / spectral_norm``, from 1 to R: how many directions as fast as the fastest
            would have the same sum; 0 where the network is constant.
        stable_rank: (N,) ``frobenius_norm² / spectral_norm²``, from 1 to ``effective_rank``; 0 likewise.
        singular_values: (N, R) in descending order.
        mean: mean of ``nuclear_norm`` and its 95 % Student interval; infinite for one sample.
        passes: forward and backward passes through the model, all samples together.
    """

    nuclear_norm: Float[Tensor, " N"]
    spectral_norm: Float[Tensor, " N"]
    frobenius_norm: Float[Tensor, " N"]
    effective_rank: Float[Tensor, " N"]
    stable_rank: Float[Tensor, " N"]
    singular_values: Float[Tensor, "N R"]
    mean: Interval
    passes: int

    units: ClassVar[Mapping[str, str]] = {
        "nuclear_norm": "unit of the output / unit of the input",
        "spectral_norm": "unit of the output / unit of the input",
        "frobenius_norm": "unit of the output / unit of the input",
        "effective_rank": "1",
        "stable_rank": "1",
        "singular_values": "unit of the output / unit of the input",
        "mean": "unit of the output / unit of the input",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        samples, most = self.singular_values.shape
        largest, effective, stable = (
            value.item() for value in (self.nuclear_norm.max(), self.effective_rank.median(), self.stable_rank.median())
        )
        lines = [
            f"nuclear norm of the Jacobian at {samples} samples: mean {self.mean.value:.4g} "
            f"(95 % interval {self.mean.low:.4g} to {self.mean.high:.4g}), largest {largest:.4g}",
            f"the outputs vary as in {effective:.3g} directions of equal speed out of {most} (median), {stable:.3g} by "
            "the stable rank",
        ]
        if constant := int((self.spectral_norm == 0).sum()):
            lines.append(f"{constant} where the network is constant: both ranks are 0 there")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given nuclear norm, and the mean.

        The background is transparent and the colours read on light and on dark pages.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.nuclear_norm,
            "nuclear norm of the Jacobian",
            mean=self.mean.value,
            purpose="JacobianNuclearNorm.plot()",
        )


@method(
    Reference(
        authors="Christopher Scarvelis, Justin Solomon",
        title="Nuclear Norm Regularization for Deep Learning",
        venue="NeurIPS",
        year=2024,
        arxiv="2405.14544",
        doi="10.52202/079017-3691",
    ),
    cost="a forward pass and a backward pass for each output; memory for the Jacobians of a chunk in double precision",
)
def jacobian_nuclear_norm(
    model: nn.Module, inputs: Float[Tensor, "N *shape"], *, chunk_size: int | None = None
) -> JacobianNuclearNorm:
    """Return the sum of the singular values of the Jacobian at each sample, with both ranks that follow.

    ``‖J‖_* = Σ_i s_i`` of ``J = ∂f/∂x``, a C x D matrix for inputs of D entries. It is the convex stand-in for the rank
    of J: what :func:`trueline.regularize.jacobian_nuclear_norm_penalty` bounds from above without forming J. Here J is
    formed, and decomposed in double precision, so the values are as exact as the model's own derivatives. For one
    output it is the length of the gradient.

    Args:
        model: any module that can be differentiated, from inputs to logits or features (N, C), (N, 1) or (N,). It is
            run in evaluation mode and left as found. Softmax is not applied.
        inputs: (N, ...) floating point, on the model's device.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, outputs or derivatives are not finite, the output does not depend on
            the input, or a batch-norm layer has no running statistics, so that samples depend on each other.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Linear(3, 2, bias=False)
        >>> with torch.no_grad():
        ...     _ = model.weight.copy_(torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
        >>> print(jacobian_nuclear_norm(model, torch.zeros(5, 3)))
        nuclear norm of the Jacobian at 5 samples: mean 4 (95 % interval 4 to 4), largest 4
        the outputs vary as in 1.33 directions of equal speed out of 2 (median), 1.11 by the stable rank
    """
    check_samples(model, inputs, None, chunk_size)
    parts: list[Tensor] = []
    passes = 0
    with torch.inference_mode(mode=False), torch.enable_grad(), left_as_found(model):
        for first, (rows,) in chunks(chunk_size, inputs):
            assert rows is not None
            jacobian = _jacobian(model, rows.detach().clone().requires_grad_(), first)
            passes += len(jacobian) * (1 + jacobian.shape[1])
            parts.append(torch.linalg.svdvals(jacobian).cpu())
    values = torch.cat(parts)
    nuclear, spectral = values.sum(dim=1), values[:, 0]
    frobenius = torch.linalg.vector_norm(values, dim=1)
    known = torch.where(spectral > 0, spectral, 1)
    mean = Interval.of_mean(nuclear)
    return JacobianNuclearNorm(
        nuclear_norm=nuclear,
        spectral_norm=spectral,
        frobenius_norm=frobenius,
        effective_rank=nuclear / known,
        stable_rank=(frobenius / known).square(),
        singular_values=values,
        mean=mean,
        passes=passes,
    )


def _jacobian(model: nn.Module, point: Tensor, first: int) -> Float[Tensor, "B C D"]:
    """Return the Jacobian of each sample's outputs, one backward pass for each of them, in double precision."""
    outputs = run_logits(model, point.clone())  # the model may write into its input
    columns = outputs.reshape(len(outputs), -1)
    rows = []
    for column in columns.unbind(dim=1):
        gradient = None
        if column.requires_grad:
            (gradient,) = torch.autograd.grad(column.sum(), point, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise ValueError(
                "the model's output does not depend on its input in a differentiable way, so that there is no "
                "gradient; look for detach(), no_grad() or rounding in its forward"
            )
        rows.append(gradient.flatten(1).double())
    jacobian = torch.stack(rows, dim=1)
    if not (finite := jacobian.flatten(1).isfinite().all(dim=1)).all():
        sample = first + int((~finite).nonzero()[0])
        raise ValueError(f"the derivatives of the model are not finite at sample {sample}; look at what it divides by")
    return jacobian
