"""Robustness and curvature of a steered model, on a few samples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor, nn

from trueline.data import Examples
from trueline.models import Normalized
from trueline.numerics import Interval, wilson_interval
from trueline.probe import normalised_curvature
from trueline.robustness import apgd_ce, robust_accuracy
from trueline.steering._options import SteeringOptions
from trueline.subjects import inputs_of

ATTACK_STEPS = 10
CURVATURE_STEPS = 10
PIXEL_RADIUS = 8 / 255
_CHUNK = 64
_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True, eq=False)
class Attack:
    """Where the attack works: inputs in [0, 1], which ``low + width · u`` turns into those of the model.

    Args:
        radius: in units of the model's inputs.
        low: what 0 stands for.
        width: what the step from 0 to 1 stands for.
    """

    radius: float
    low: float = 0.0
    width: float = 1.0


def plan_attack(parts: Mapping[str, Examples], options: SteeringOptions) -> tuple[Attack | None, str]:
    """Decide what is attacked within what radius.

    Images in [0, 1] are attacked within them. Other inputs have no such bounds: they are put in a box that the ball
    around none of them leaves.

    Args:
        parts: the samples that will be attacked, by split.
        options: radius and number of samples.

    Returns:
        The attack and no words; or None, and why there is none.

    Raises:
        ValueError: if robust accuracy is what β is chosen by and there is none.
    """
    held = [inputs_of(examples) for examples in parts.values()]
    low, high = min(x.min().item() for x in held), max(x.max().item() for x in held)
    radius = options.radius
    if low >= 0 and high <= 1 and held[0].ndim == 4:
        attack, why = Attack(PIXEL_RADIUS if radius is None else radius), ""
        if attack.radius > 1:
            raise ValueError(f"radius must be at most 1 for images in [0, 1], got {radius}; 8 grey levels are 8/255")
    elif radius is None:
        attack = None
        why = (
            f"Robust accuracy is left out: the inputs are no images in [0, 1] but of shape {tuple(held[0].shape[1:])}, "
            f"from {low:.4g} to {high:.4g}, where no radius is usual; give one in their units with --radius."
        )
        if options.metric == "robust_accuracy":
            raise ValueError(f"metric = 'robust_accuracy' has no radius. {why}")
    else:
        attack, why = Attack(radius, low - radius, high - low + 2 * radius), ""
    return (attack, why) if options.samples else (None, "Robust accuracy and curvature are left out: samples = 0.")


def withstanding(
    model: nn.Module, inputs: Float[Tensor, "N *shape"], labels: Int64[Tensor, " N"], attack: Attack, seed: int
) -> Float64[Tensor, " N"]:
    """Return which samples stay right under the attack, as zeros and ones.

    Args:
        model: takes its own inputs.
        inputs: (N, ...) such inputs.
        labels: (N,) class numbers.
        attack: where it works.
        seed: of its random starts.
    """
    boxed = Normalized(model, [-attack.low / attack.width], [1 / attack.width]).to(_device(model))
    found = robust_accuracy(
        boxed.eval(),
        ((inputs - attack.low) / attack.width).clamp(0, 1),
        labels,
        radius=attack.radius / attack.width,
        attacks={"apgd_ce": partial(apgd_ce, steps=ATTACK_STEPS)},
        generator=torch.Generator().manual_seed(seed),
    )
    return found.robust.double()


def curvatures(
    model: nn.Module, inputs: Float[Tensor, "N *shape"], labels: Int64[Tensor, " N"], seed: int
) -> Float[Tensor, " N"]:
    """Return the normalised curvature of the loss at each sample.

    Args:
        model: from inputs to logits.
        inputs: (N, ...).
        labels: (N,) class numbers.
        seed: of the first vectors.
    """
    device = _device(model)
    found = normalised_curvature(
        model,
        inputs.to(device),
        labels.to(device),
        iterations=CURVATURE_STEPS,
        chunk_size=_CHUNK,
        generator=torch.Generator().manual_seed(seed),
    )
    return found.curvature


def some_of(examples: Examples, count: int, seed: int) -> Examples:
    """Return a random part of the samples, always the same.

    Args:
        examples: all.
        count: how many at most.
        seed: of the choice.
    """
    chosen = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))[:count]
    return examples.select(chosen.sort().values)


def share_of(hits: Shaped[Tensor, " N"]) -> Interval:
    """Return a share of samples and its 95 % Wilson interval.

    Args:
        hits: (N,) zeros and ones, N at least 1.
    """
    rate = hits.double().mean()
    low, high = wilson_interval(rate, torch.tensor(float(len(hits)), dtype=torch.float64))
    return Interval(rate.item(), low.item(), high.item())


def paired_share(change: Shaped[Tensor, " N"]) -> Interval:
    """Return the difference of two shares of the same samples, with its 95 % interval by Agresti and Min (2005).

    Half a sample is added to each cell of the 2x2 table, so that samples of which none differs leave room for doubt.

    Args:
        change: (N,) entries -1, 0 and 1, N at least 1.
    """
    size, change = len(change), change.double()
    total, moved = change.sum().item(), change.abs().sum().item()
    half = _Z * math.sqrt(moved + 1 - total**2 / (size + 2))
    return Interval(total / size, (total - half) / (size + 2), (total + half) / (size + 2))


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
