"""Whether a map adds up to the change of the score that it explains, by Sundararajan, Taly and Yan (2017)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import (
    ClassValue,
    Record,
    Reference,
    check_samples,
    chunks,
    class_values,
    distribution_chart,
    left_as_found,
    method,
    run_logits,
)
from trueline.explain._attribute import attribute, name_of
from trueline.explain._foreign import as_explainer
from trueline.explain._integrated_gradients import IntegratedGradients, start_of


@dataclass(frozen=True, eq=False)
class CompletenessGap(Record):
    """What a map of each sample adds up to, and what it should; the first axis of an array is the sample.

    Args:
        gap: (N,) distance of ``total`` from ``change``.
        total: (N,) sum of the map.
        change: (N,) ``f_c(x) - f_c(x₀)``.
        target: (N,) the class c that is explained.
        explainer: the method with its settings, as text.
    """

    gap: Float[Tensor, " N"]
    total: Float[Tensor, " N"]
    change: Float[Tensor, " N"]
    target: Int64[Tensor, " N"]
    explainer: str

    units: ClassVar[Mapping[str, str]] = {"gap": "of the score", "total": "of the score", "change": "of the score"}

    def __str__(self) -> str:
        """Say how much is missing, in a line."""
        worst = int(self.gap.argmax())
        return (
            f"{self.explainer}: maps of {len(self.gap)} samples miss the score's change by {self.gap.mean():.3g} on "
            f"average, where it changes by {self.change.abs().mean():.3g}; most in sample {worst}, "
            f"{self.total[worst]:.3g} for {self.change[worst]:.3g}"
        )

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples whose gap is at most a given value.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(self.gap, "completeness gap, units of the score", purpose="CompletenessGap.plot()")


@method(
    Reference(
        authors="Mukund Sundararajan, Ankur Taly, Qiqi Yan",
        title="Axiomatic Attribution for Deep Networks",
        venue="ICML",
        year=2017,
        arxiv="1703.01365",
    ),
    cost="that of the explainer and two forward passes",
)
def completeness_gap(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    target: Int64[Tensor, " N"] | None = None,
    *,
    explainer: Any = None,
    baseline: Float[Tensor, "..."] | None = None,
    of: ClassValue | None = None,
    chunk_size: int | None = None,
) -> CompletenessGap:
    """Return by how much maps do not add up to the change of the score: ``|Σ_i e_i(x) - (f_c(x) - f_c(x₀))|``.

    For integrated gradients it is the error of the integral: where it is not small beside the change, take more steps.
    For other methods, such as input times gradient, it says how far their sums are from explaining the score.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        target: (N,) class numbers, int64, or None for the classes that the model predicts for these inputs.
        explainer: what :func:`as_explainer` takes; None for :class:`IntegratedGradients`.
        baseline: of one sample's shape; None for the explainer's, which is zero where it has none.
        of: the score; None for the explainer's, which is ``"logit"`` where it has none.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if logits or maps are not finite, an argument is out of range, or a batch-norm layer has no running
            statistics, so that samples depend on each other.
        TypeError: if a dtype is wrong, or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        >>> bool(completeness_gap(model, torch.randn(5, 4)).gap.max() < 1e-5)
        True
    """
    check_samples(model, inputs, target, chunk_size)
    asked = IntegratedGradients() if explainer is None else as_explainer(explainer, model)
    score: ClassValue = getattr(asked, "of", "logit") if of is None else of
    start = start_of(getattr(asked, "baseline", None) if baseline is None else baseline, inputs)
    found = attribute(model, inputs, target, explainer=asked, chunk_size=chunk_size)
    changes = []
    with torch.inference_mode(mode=False), torch.no_grad(), left_as_found(model):
        for _, (rows, classes) in chunks(chunk_size, inputs, found.target):
            assert rows is not None
            assert classes is not None
            ends = [rows.detach().clone(), start.expand_as(rows).clone()]
            after, before = (
                class_values(run_logits(model, end), classes.to(end.device), score).double().cpu() for end in ends
            )
            changes.append(after - before)
    total, change = found.maps.flatten(1).sum(dim=1), torch.cat(changes)
    return CompletenessGap(
        gap=(total - change).abs(), total=total, change=change, target=found.target, explainer=name_of(asked)
    )
