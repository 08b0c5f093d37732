"""Deletion and insertion, by Petsiuk et al. (2018)."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, default_generator, method
from trueline.explain._against_random import area_under, check_draws, paired_interval
from trueline.explain._baselines import BlurBaseline, ConstantBaseline, as_baseline
from trueline.explain._read_maps import read_maps
from trueline.explain._removal import Removal, fill_from, removal_counts
from trueline.explain._removal_curve import RemovalCurve
from trueline.explain._removal_order import map_layout, random_orders, removal_ranks
from trueline.explain._removal_score import RemovalScore, check_score

_RISE = Reference(
    authors="Vitali Petsiuk, Abir Das, Kate Saenko",
    title="RISE: Randomized Input Sampling for Explanation of Black-box Models",
    venue="BMVC",
    year=2018,
    arxiv="1806.07421",
)


@method(_RISE, cost="a forward pass for each step, and for each step of each random order")
def deletion(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    explanation: Any = None,
    target: Int64[Tensor, " N"] | None = None,
    *,
    baseline: Any = None,
    of: RemovalScore = "probability",
    steps: int | None = None,
    draws: int = 5,
    keep_inputs: bool = False,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> RemovalCurve:
    """Return the score of a class while its most important entries are removed first, and the area under that curve.

    ``AUC = (Σ_t s_t - s_0/2 - s_T/2) / T`` with s_t the score after step t of T, where the steps are equal; otherwise
    the trapezoid rule over the share removed. The lower it is, the more the removed entries mattered. With an additive
    score no order has a smaller area than that of the entries' contributions. How low it can be depends on model and
    baseline: read it beside the random orders, which remove the same entries of all samples.

    Entries are those of a table, or the pixels of an image (N, C, H, W) with all channels together, ordered by the sum
    of their attributions with its sign. Equal attributions are ordered by one random order, the same for all maps.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        explanation: maps, of the shape of the inputs or without their channel axis; an
            :class:`trueline.explain.Attribution`; or an explainer as :func:`trueline.explain.attribute` takes it. None
            for the gradient.
        target: (N,) class numbers, int64, or None for the classes that the model predicts for these inputs.
        baseline: what replaces removed entries: a :class:`trueline.explain.Baseline` or a number; None for 0.
        of: the score: ``"probability"``; ``"log_odds"`` of the class or ``"margin"``, which do not saturate; or
            ``"logit"``, which for two classes in one number is that number whatever the class. For such models, explain
            the ``"margin"`` or the ``"log_probability"``.
        steps: T, at most the number of entries; None for one entry a step, but at most 100 steps.
        draws: random orders, at least 2.
        keep_inputs: return the samples after each step, too.
        chunk_size: inputs that pass the model at once, samples for an explainer; None for what is fast, and for all
            samples at once in an explainer. It changes the memory, not the answer.
        generator: draws the order of equal attributions and the random orders; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, maps do not fit the inputs, logits or maps are not finite, or a
            batch-norm layer has no running statistics, so that samples depend on each other.
        TypeError: if a dtype is wrong, or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Linear(4, 2)
        >>> inputs = torch.randn(6, 4)
        >>> predicted = model(inputs).argmax(dim=1)
        >>> contributions = (inputs * (2 * predicted - 1)[:, None] * (model.weight[1] - model.weight[0])).detach()
        >>> found = deletion(model, inputs, contributions, of="log_odds")
        >>> bool((found.area[:, None] <= found.control_area + 1e-6).all())
        True
    """
    return _curve(
        "deletion", model, inputs, explanation, target, ConstantBaseline() if baseline is None else baseline, of,
        steps, draws, keep_inputs, chunk_size, generator,
    )  # fmt: skip


@method(_RISE, cost="a forward pass for each step, and for each step of each random order")
def insertion(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    explanation: Any = None,
    target: Int64[Tensor, " N"] | None = None,
    *,
    baseline: Any = None,
    of: RemovalScore = "probability",
    steps: int | None = None,
    draws: int = 5,
    keep_inputs: bool = False,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> RemovalCurve:
    """Return the score of a class while its most important entries are restored first, and the area under that curve.

    As :func:`deletion`, but the curve starts with every entry removed and the area is to be large. With the same
    baseline it is deletion in the opposite order, read from its end.

    Args:
        model: as there.
        inputs: as there.
        explanation: as there.
        target: as there.
        baseline: as there, but None for :class:`trueline.explain.BlurBaseline` of images (N, C, H, W) and for 0 of all
            else.
        of: as there.
        steps: as there.
        draws: as there.
        keep_inputs: as there.
        chunk_size: as there.
        generator: as there.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: as there.
        TypeError: as there.

    Example:
        >>> model = nn.Linear(4, 2)
        >>> found = insertion(model, torch.randn(6, 4))
        >>> found.method, found.curve.shape
        ('insertion', torch.Size([6, 5]))
    """
    if baseline is None:
        baseline = BlurBaseline() if inputs.ndim == 4 else ConstantBaseline()
    return _curve(
        "insertion", model, inputs, explanation, target, baseline, of, steps, draws, keep_inputs, chunk_size, generator
    )


def _curve(
    name: str,
    model: nn.Module,
    inputs: Tensor,
    explanation: Any,
    target: Tensor | None,
    baseline: Any,
    of: RemovalScore,
    steps: int | None,
    draws: int,
    keep_inputs: bool,
    chunk_size: int | None,
    generator: torch.Generator | None,
) -> RemovalCurve:
    check_score(of)
    check_draws(draws)
    baseline = as_baseline(baseline)
    generator = default_generator(generator)
    maps, target, explainer = read_maps(model, inputs, explanation, target, chunk_size)
    layout = map_layout(maps, inputs)
    entries = torch.Size(layout).numel()
    ties, *orders = random_orders(entries, 1 + draws, generator)
    counts = removal_counts(entries, steps)
    share = counts.double() / entries
    backwards = name == "insertion"
    removal = Removal(
        model, inputs, target, layout=layout, fill=fill_from(baseline), of=of, chunk_size=chunk_size,
        counts=entries - counts if backwards else counts,
    )  # fmt: skip

    def place(ranks: Tensor) -> Tensor:
        return entries - 1 - ranks if backwards else ranks  # what is restored first is removed last

    found = removal.run(place(removal_ranks(maps, layout, ties)), keep=keep_inputs)
    control = [removal.run(place(order.argsort()).expand(len(inputs), -1)).score for order in orders]
    area = area_under(found.score, share)
    control_area = torch.stack([area_under(curve, share) for curve in control], dim=1)
    gain = control_area - area[:, None]
    return RemovalCurve(
        area=area,
        control_area=control_area,
        curve=found.score,
        control_curve=torch.stack(control).mean(dim=0),
        kept=found.kept,
        target=target,
        share=share,
        advantage=paired_interval(-gain if backwards else gain),
        method=name,
        of=of,
        baseline=repr(baseline),
        explainer=explainer,
        perturbed=found.inputs,
    )
