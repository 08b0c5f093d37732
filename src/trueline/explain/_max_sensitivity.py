"""The largest relative change of an explanation within a small cube, by Yeh et al. (2019)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Record, Reference, default_generator, distribution_chart, method
from trueline.explain._map_pairs import undefined_where
from trueline.explain._perturbed_maps import Scale, clean_maps, map_changes, scaled_rows
from trueline.numerics import Interval


@dataclass(frozen=True, eq=False)
class MaxSensitivity(Record):
    """Change of the map relative to its size; the first axis of an array is the sample.

    Args:
        sensitivity: (N,) the largest value over the draws, a lower bound of that over the cube; NaN where the map of
            the sample is zero everywhere.
        typical: (N,) its mean over the draws; NaN in the same places.
        points: (N, ...) the perturbed sample with the largest value.
        target: (N,) the class that is explained.
        mean: mean of ``sensitivity`` where it is defined and its 95 % Student interval; None if it nowhere is.
        draws: perturbations of each sample.
        radius: largest change of an entry.
        explainer: the method with its settings, as text.
    """

    sensitivity: Float[Tensor, " N"]
    typical: Float[Tensor, " N"]
    points: Float[Tensor, "N *shape"]
    target: Int64[Tensor, " N"]
    mean: Interval | None
    draws: int
    radius: float
    explainer: str

    units: ClassVar[Mapping[str, str]] = {
        "sensitivity": "1",
        "typical": "1",
        "points": "unit of the input",
        "mean": "1",
        "radius": "unit of the input",
    }

    def __str__(self) -> str:
        """Say what the numbers mean."""
        if self.mean is None:
            return f"{self.explainer}: all maps are zero everywhere, so that no change is relative to anything"
        empty = int(self.sensitivity.isnan().sum())
        return (
            f"{self.explainer}: at the worst of {self.draws} perturbations within {self.radius:g} the map changes by "
            f"{self.mean.value:.1%} of its length (95 % interval {self.mean.low:.1%} to {self.mean.high:.1%}, "
            f"{len(self.sensitivity) - empty} samples)"
        ) + (f"\n{empty} maps are zero everywhere and were left out" if empty else "")

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given sensitivity.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.sensitivity,
            "largest change of the map relative to its length",
            mean=None if self.mean is None else self.mean.value,
            purpose="MaxSensitivity.plot()",
        )


@method(
    Reference(
        authors="Chih-Kuan Yeh, Cheng-Yu Hsieh, Arun Sai Suggala, David I. Inouye, Pradeep Ravikumar",
        title="On the (In)fidelity and Sensitivity of Explanations",
        venue="NeurIPS",
        year=2019,
        arxiv="1901.09392",
    ),
    cost="a map of each draw, in batches; a forward and a backward pass each for a gradient",
)
def max_sensitivity(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    target: Int64[Tensor, " N"] | None = None,
    *,
    explainer: Any = None,
    radius: float = 0.02,
    draws: int = 10,
    scale: Scale = "none",
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> MaxSensitivity:
    """Return the largest change of a map relative to its length, over random perturbations within a cube.

    ``max_m ‖e(x + δ_m) - e(x)‖₂ / ‖e(x)‖₂`` with every entry of δ_m uniform in [-radius, radius]. The class that is
    explained is that of the sample itself, also where the model predicts another for a perturbed one.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        target: (N,) class numbers, int64, or None for the predicted classes.
        explainer: as for :func:`attribute`; None for :class:`Gradient`.
        radius: largest change of an entry, in units of the inputs, at least 0.
        draws: perturbations, at least 1, the same for all samples.
        scale: ``"none"`` compares maps as they are; ``"largest"`` divides each by its largest absolute entry first, the
            perturbed ones by their own.
        chunk_size: perturbed copies at once, None for 256 or as many as there are samples; it changes the memory, not
            the answer.
        generator: draws the perturbations; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, logits are not finite, or a batch-norm layer has no running
            statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> max_sensitivity(nn.Linear(4, 3), torch.randn(5, 4)).mean.value
        0.0
    """
    generator = default_generator(generator)
    if not radius >= 0:
        raise ValueError(f"radius must be at least 0, in units of the inputs, got {radius}")
    first, maker = clean_maps(model, inputs, target, explainer, chunk_size, draws=draws)
    drawn = torch.rand(draws, *inputs.shape[1:], generator=generator, device=generator.device, dtype=torch.float64)
    noise = (radius * (2 * drawn - 1)).to(inputs)
    rows = scaled_rows(first.maps, scale)
    changes = map_changes(model, maker, inputs, first.target, rows, noise, scale, chunk_size)
    lengths = torch.linalg.vector_norm(rows, dim=1)
    empty = lengths == 0
    ratios = changes / torch.where(empty, 1, lengths)[:, None]
    largest, worst = ratios.max(dim=1)
    return MaxSensitivity(
        sensitivity=undefined_where(largest, empty),
        typical=undefined_where(ratios.mean(dim=1), empty),
        points=(inputs.detach() + noise[worst.to(noise.device)]).double().cpu(),
        target=first.target,
        mean=None if empty.all() else Interval.of_mean(largest[~empty]),
        draws=draws,
        radius=float(radius),
        explainer=first.explainer,
    )
