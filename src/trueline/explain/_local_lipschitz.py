"""How fast an explanation changes around a sample, by Alvarez-Melis and Jaakkola (2018)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Record, Reference, default_generator, distribution_chart, method
from trueline.explain._perturbed_maps import Scale, clean_maps, gaussian, map_changes, scaled_rows
from trueline.numerics import Interval


@dataclass(frozen=True, eq=False)
class LocalLipschitz(Record):
    """Change of the map per change of the sample; the first axis of an array is the sample.

    Args:
        lipschitz: (N,) the largest ratio over the draws, a lower bound of the local Lipschitz constant.
        typical: (N,) its mean over the draws.
        points: (N, ...) the perturbed sample with the largest ratio.
        target: (N,) the class that is explained.
        mean: mean of ``lipschitz`` and its 95 % Student interval; infinite for one sample.
        draws: perturbations of each sample.
        spread: their standard deviation.
        explainer: the method with its settings, as text.
    """

    lipschitz: Float[Tensor, " N"]
    typical: Float[Tensor, " N"]
    points: Float[Tensor, "N *shape"]
    target: Int64[Tensor, " N"]
    mean: Interval
    draws: int
    spread: float
    explainer: str

    units: ClassVar[Mapping[str, str]] = {
        "lipschitz": "unit of the map / unit of the input",
        "typical": "unit of the map / unit of the input",
        "points": "unit of the input",
        "mean": "unit of the map / unit of the input",
        "spread": "unit of the input",
    }

    def __str__(self) -> str:
        """Say what the numbers mean."""
        return (
            f"{self.explainer}: at the worst of {self.draws} Gaussian perturbations of standard deviation "
            f"{self.spread:g} the map changes by {self.mean.value:.4g} per unit of change of the sample (95 % interval "
            f"{self.mean.low:.4g} to {self.mean.high:.4g}, {len(self.lipschitz)} samples), and by "
            f"{self.typical.mean():.4g} on average over perturbations; a lower bound of the local Lipschitz constant"
        )

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given local Lipschitz estimate.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        title = "change of the map per change of the sample"
        return distribution_chart(self.lipschitz, title, mean=self.mean.value, purpose="LocalLipschitz.plot()")


@method(
    Reference(
        authors="David Alvarez-Melis, Tommi S. Jaakkola",
        title="On the Robustness of Interpretability Methods",
        venue="ICML Workshop on Human Interpretability in Machine Learning",
        year=2018,
        arxiv="1806.08049",
    ),
    cost="a map of each draw, in batches; a forward and a backward pass each for a gradient",
)
def local_lipschitz(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    target: Int64[Tensor, " N"] | None = None,
    *,
    explainer: Any = None,
    spread: float = 0.1,
    draws: int = 200,
    scale: Scale = "none",
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> LocalLipschitz:
    """Return the largest change of a map per change of the sample, over random perturbations.

    ``max_m ‖e(x + δ_m) - e(x)‖₂ / ‖δ_m‖₂`` with ``δ_m ~ N(0, spread²)`` in each entry. The class that is explained is
    that of the sample itself, also where the model predicts another for a perturbed one.

    As the spread falls, that of the gradient of a logit is at most the spectral norm of the Hessian in the input.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        target: (N,) class numbers, int64, or None for the predicted classes.
        explainer: as for :func:`attribute`; None for :class:`Gradient`.
        spread: standard deviation of each entry, in units of the inputs, above 0.
        draws: perturbations, at least 1, the same for all samples.
        scale: ``"none"`` compares maps as they are; ``"largest"`` divides each by its largest absolute entry first, so
            that the size of the logits does not matter.
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
        >>> local_lipschitz(nn.Linear(4, 3), torch.randn(5, 4), draws=10).mean.value
        0.0
    """
    generator = default_generator(generator)
    first, maker = clean_maps(model, inputs, target, explainer, chunk_size, draws=draws)
    noise = gaussian(draws, inputs, spread, generator)
    lengths = torch.linalg.vector_norm(noise.double().flatten(1), dim=1).cpu()
    rows = scaled_rows(first.maps, scale)
    ratios = map_changes(model, maker, inputs, first.target, rows, noise, scale, chunk_size) / lengths
    largest, worst = ratios.max(dim=1)
    return LocalLipschitz(
        lipschitz=largest,
        typical=ratios.mean(dim=1),
        points=(inputs.detach() + noise[worst.to(noise.device)]).double().cpu(),
        target=first.target,
        mean=Interval.of_mean(largest),
        draws=draws,
        spread=float(spread),
        explainer=first.explainer,
    )
