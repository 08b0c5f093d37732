"""Infidelity of attributions, by Yeh et al. (2019)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Record, Reference, default_generator, distribution_chart, method
from trueline.explain._against_random import check_draws, compared, paired_interval
from trueline.explain._read_maps import full_maps, read_maps
from trueline.explain._removal_order import random_orders
from trueline.explain._removal_score import RemovalScore, check_score
from trueline.explain._score_drops import inputs_at_once, score_drops
from trueline.numerics import Interval


@dataclass(frozen=True, eq=False)
class Infidelity(Record):
    """How badly each map predicts what noise does to the score; arrays of shape (N,) or (N, draws).

    Args:
        infidelity: mean square of what the map predicts minus the drop of the score; lower is better.
        scaled_infidelity: the same of the map times ``scale``, the smallest of all multiples, so that it does not
            depend on the map's size.
        scale: the multiple of the map that fits best; 0 for a map that predicts no drop at all.
        drop_square: mean square of the drop, the infidelity of a map of zeros.
        control_infidelity: infidelity of the maps with their entries in random orders, the same for all samples.
        control_scaled_infidelity: likewise, scaled.
        target: the class, fixed from the clean prediction where it was not given.
        advantage: mean of the controls' infidelity minus that of the maps, positive where the maps are better, and the
            95 % interval of the paired difference; infinite for one sample.
        scaled_advantage: likewise, scaled.
        sigma: standard deviation of the noise.
        of: the score.
        explainer: what made the maps.
    """

    infidelity: Float[Tensor, " N"]
    scaled_infidelity: Float[Tensor, " N"]
    scale: Float[Tensor, " N"]
    drop_square: Float[Tensor, " N"]
    control_infidelity: Float[Tensor, "N draws"]
    control_scaled_infidelity: Float[Tensor, "N draws"]
    target: Int64[Tensor, " N"]
    advantage: Interval
    scaled_advantage: Interval
    sigma: float
    of: str
    explainer: str

    units: ClassVar[Mapping[str, str]] = {
        "infidelity": "unit of the score squared",
        "scaled_infidelity": "unit of the score squared",
        "scale": "unit of the score / (unit of the map x unit of the input)",
        "drop_square": "unit of the score squared",
        "control_infidelity": "unit of the score squared",
        "control_scaled_infidelity": "unit of the score squared",
        "advantage": "unit of the score squared",
        "scaled_advantage": "unit of the score squared",
        "sigma": "unit of the input",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in three lines."""
        unit = f"of the {self.of} squared"
        return "\n".join(
            [
                f"infidelity of {self.explainer} at {len(self.infidelity)} samples under noise of {self.sigma:g}: mean "
                f"{self.infidelity.mean():.4g}, {self.scaled_infidelity.mean():.4g} with the best scale; maps of zeros "
                f"have {self.drop_square.mean():.4g}",
                f"as it is, {compared(self.advantage, unit)}",
                f"with the best scale, {compared(self.scaled_advantage, unit)}",
            ]
        )

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given infidelity; dashed the controls' mean.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.infidelity,
            f"infidelity, {self.of} squared; dashed the mean of random orders",
            mean=self.control_infidelity.mean().item(),
            purpose="Infidelity.plot()",
        )


@method(
    Reference(
        authors="Chih-Kuan Yeh, Cheng-Yu Hsieh, Arun Sai Suggala, David I. Inouye, Pradeep Ravikumar",
        title="On the (In)fidelity and Sensitivity of Explanations",
        venue="NeurIPS",
        year=2019,
        arxiv="1901.09392",
    ),
    cost="a forward pass for each perturbation",
)
def infidelity(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    explanation: Any = None,
    target: Int64[Tensor, " N"] | None = None,
    *,
    sigma: float = 0.1,
    perturbations: int = 100,
    of: RemovalScore = "logit",
    draws: int = 5,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Infidelity:
    """Return the mean squared error with which a map predicts the drop of a score under normal noise.

    ``E_I[(I·e - (f(x) - f(x - I)))²]`` over I ~ N(0, σ²), the same for all samples. It is zero for the gradient of a
    linear score. The size of the map counts; of the map times β it is smallest for ``β = E[(I·e) Δ] / E[(I·e)²]`` with
    Δ the drop, which the scaled form uses.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        explanation: as in :func:`trueline.explain.deletion`, but one number for each entry of the inputs.
        target: as there.
        sigma: standard deviation of the noise, in the unit of the input.
        perturbations: number of noise vectors, at least 1.
        of: as there.
        draws: random orders of the maps' entries for the control, at least 2; they cost no pass.
        chunk_size: inputs that pass the model at once, a sample's perturbed copies in blocks of at most as many; None
            for what is fast, and for all samples at once in an explainer. It changes the memory, not the answer.
        generator: draws the random orders and the noise; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, maps do not fit the inputs, logits or maps are not finite, or a
            batch-norm layer has no running statistics, so that samples depend on each other.
        TypeError: if a dtype is wrong, or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Linear(4, 3).double()
        >>> found = infidelity(model, torch.randn(5, 4, dtype=torch.float64))
        >>> bool(found.infidelity.max() < 1e-20 * found.drop_square.min())
        True
    """
    check_score(of)
    check_draws(draws)
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma must be positive and finite, got {sigma}")
    if perturbations < 1:
        raise ValueError(f"perturbations must be at least 1, got {perturbations}")
    maps, target, explainer = read_maps(model, inputs, explanation, target, chunk_size)
    rows = full_maps(maps, inputs)
    generator = default_generator(generator)
    orders = random_orders(rows.shape[1], draws, generator)
    limit = inputs_at_once(inputs, chunk_size)
    predicted, drops = [], []
    for begin in range(0, perturbations, limit):
        noise = _noise(inputs, sigma, min(limit, perturbations - begin), generator)

        def change(some: Tensor, noise: Tensor = noise) -> Tensor:
            return some[:, None] - noise

        drops.append(score_drops(model, inputs, target, change, len(noise), of=of, limit=limit))
        vectors = noise.flatten(1).double().cpu().T
        predicted.append(torch.stack([rows @ vectors, *(rows[:, order] @ vectors for order in orders)], dim=1))
    predictions, drop = torch.cat(predicted, dim=2), torch.cat(drops, dim=1)[:, None]
    plain = (predictions - drop).square().mean(dim=2)
    sizes = predictions.square().sum(dim=2)
    scale = torch.where(sizes > 0, (predictions * drop).sum(dim=2) / torch.where(sizes > 0, sizes, 1), 0)
    scaled = (scale[:, :, None] * predictions - drop).square().mean(dim=2)
    return Infidelity(
        infidelity=plain[:, 0],
        scaled_infidelity=scaled[:, 0],
        scale=scale[:, 0],
        drop_square=drop.squeeze(1).square().mean(dim=1),
        control_infidelity=plain[:, 1:],
        control_scaled_infidelity=scaled[:, 1:],
        target=target,
        advantage=paired_interval(plain[:, 1:] - plain[:, :1]),
        scaled_advantage=paired_interval(scaled[:, 1:] - scaled[:, :1]),
        sigma=float(sigma),
        of=of,
        explainer=explainer,
    )


def _noise(inputs: Tensor, sigma: float, number: int, generator: torch.Generator) -> Tensor:
    """Return noise vectors in the shape of a sample, drawn one by one, so that blocks do not matter."""
    shape, device = inputs.shape[1:], generator.device
    drawn = [torch.randn(shape, generator=generator, device=device, dtype=torch.float64) for _ in range(number)]
    return (sigma * torch.stack(drawn)).to(inputs)
