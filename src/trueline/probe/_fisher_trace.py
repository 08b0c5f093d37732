"""The trace of the Fisher information of the weights, exactly and sample by sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

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
from trueline.probe._curvature_operator import chosen_parameters


@dataclass(frozen=True, eq=False)
class FisherTrace(Record):
    """Trace of the Fisher information of the weights at each sample; array of shape (N,).

    Args:
        trace: ``Σ_c p_c·‖∇_θ ln p_c‖²``, the trace of the sample's Gauss-Newton matrix of the cross-entropy.
        mean: mean of ``trace``, the trace of the Gauss-Newton matrix of the mean loss, and its 95 % Student interval;
            infinite for one sample.
        parameters: P, weights that the matrix is of.
        passes: passes through the model, forward or backward, all samples together.
    """

    trace: Float[Tensor, " N"]
    mean: Interval
    parameters: int
    passes: int

    units: ClassVar[Mapping[str, str]] = {
        "trace": "nat / unit of the weights squared",
        "mean": "nat / unit of the weights squared",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        return (
            f"trace of the Fisher information of {self.parameters:,} weights at {len(self.trace)} samples: mean "
            f"{self.mean.value:.4g} (95 % interval {self.mean.low:.4g} to {self.mean.high:.4g}), median "
            f"{self.trace.median():.4g}, largest {self.trace.max():.4g}; exact at each sample"
        )

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given trace, and the mean.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        title = "trace of the Fisher information"
        return distribution_chart(self.trace, title, mean=self.mean.value, purpose="FisherTrace.plot()")


@method(
    Reference(
        authors="James Martens",
        title="New Insights and Perspectives on the Natural Gradient Method",
        venue="Journal of Machine Learning Research",
        year=2020,
        arxiv="1412.1193",
    ),
    cost="a forward and a backward pass for each class; a gradient for each sample of a chunk",
)
def fisher_trace(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    *,
    parameters: Sequence[str] | None = None,
    chunk_size: int | None = None,
) -> FisherTrace:
    """Return the trace of the Fisher information of the weights at each sample, without sampling.

    ``tr F(x) = E_{c ~ p(x)} ‖∇_θ ln p_c(x)‖² = tr(Jᵀ(diag(p) - pp')J)``: for cross-entropy it is the trace of the
    Gauss-Newton matrix, and their mean over samples is that of :class:`GaussNewton`. Labels play no part in it.

    Args:
        model: any module whose forward PyTorch can vectorise, from inputs to logits (N, C), or (N,) or (N, 1) log-odds
            of class 1 of two. It is run in evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        parameters: names of parameters or modules whose block is wanted; None for all with ``requires_grad``.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, a name is not known, logits or gradients are not finite, or a
            batch-norm layer has no running statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.zeros_(model.weight)
        >>> fisher_trace(model, torch.tensor([[2.0, 0.0], [1.0, 1.0]])).trace.tolist()  # p(1 - p)·‖x‖²
        [1.0, 0.5]
    """
    check_samples(model, inputs, None, chunk_size)
    chosen = chosen_parameters(model, parameters)
    parts: list[Tensor] = []
    classes = 0
    with torch.inference_mode(mode=False), sdpa_kernel(SDPBackend.MATH), left_as_found(model):
        weights = {name: value.detach() for name, value in chosen.items()}
        others = {name: value.detach() for name, value in model.named_parameters() if name not in weights}
        # Buffers as copies: a forward that writes to one then writes to nobody's.
        others |= {name: value.detach().clone() for name, value in model.named_buffers()}

        def log_prob(weights: dict[str, Tensor], row: Tensor, label: int) -> Tensor:
            logits = functional_call(model, weights | others, (row.unsqueeze(0),)).reshape(-1).double()
            if len(logits) == 1:
                logits = torch.cat([torch.zeros_like(logits), logits])
            return F.log_softmax(logits, dim=0)[label]

        for first, (rows, _) in chunks(chunk_size, inputs.detach().clone(), None):
            assert rows is not None
            with torch.no_grad():
                outputs = run_logits(model, rows).reshape(len(rows), -1)
                classes = max(outputs.shape[1], 2)
            total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
            for label in range(classes):
                slopes, values = vmap(grad_and_value(log_prob), in_dims=(None, 0, None))(weights, rows, label)
                square = sum(slope.double().flatten(1).square().sum(dim=1) for slope in slopes.values())
                total += values.detach().exp() * square
            if not total.isfinite().all():
                sample = first + int((~total.isfinite()).nonzero()[0])
                raise ValueError(f"the gradient is not finite at sample {sample}; look at what the model divides by")
            parts.append(total.detach().cpu())
    trace = torch.cat(parts)
    mean = Interval.of_mean(trace)
    return FisherTrace(
        trace=trace,
        mean=mean,
        parameters=sum(value.numel() for value in chosen.values()),
        passes=len(trace) * (1 + 2 * classes),
    )
