"""Pixel flipping in both orders, by Bach et al. (2015) and Samek et al. (2017)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from trueline.contracts import Record, Reference, default_generator, method
from trueline.explain._against_random import area_under, check_draws, compared, curve_chart, paired_interval
from trueline.explain._baselines import ConstantBaseline, as_baseline
from trueline.explain._read_maps import ReadMaps, read_maps
from trueline.explain._removal import Fill, Removal, fill_from, removal_counts
from trueline.explain._removal_curve import UNITS
from trueline.explain._removal_order import map_layout, random_orders, removal_ranks
from trueline.explain._removal_score import RemovalScore, check_score
from trueline.numerics import Interval


@dataclass(frozen=True, eq=False)
class PixelFlipping(Record):
    """The score of each sample's class while entries are removed, the most and the least important first.

    Args:
        area_between: (N,) area between the two curves, a mean difference of scores; higher is better. What the
            baseline alone does to the score is in both curves and drops out.
        control_area_between: (N, draws) the same of random orders and their reverses; zero in expectation.
        most_first: (N, S) score after each step, most important entries first.
        least_first: (N, S) the opposite order.
        control_curve: (N, S) mean over the random orders and their reverses.
        most_first_kept: (N, S) whether the model predicts the class after each step.
        least_first_kept: (N, S) likewise.
        target: (N,) the class, fixed from the clean prediction where it was not given.
        share: (S,) share of the entries that are removed after each step.
        advantage: mean of ``area_between`` above that of random orders, and the 95 % interval of the paired difference;
            infinite for one sample.
        method: ``"pixel flipping"`` or ``"ROAD"``.
        of: the score, see :func:`trueline.explain.deletion`.
        baseline: what replaces removed entries.
        explainer: what made the maps.
        perturbed: (N, S, ...) the samples after each step, most important entries first, or None where not asked for.
    """

    area_between: Float[Tensor, " N"]
    control_area_between: Float[Tensor, "N draws"]
    most_first: Float[Tensor, "N S"]
    least_first: Float[Tensor, "N S"]
    control_curve: Float[Tensor, "N S"]
    most_first_kept: Bool[Tensor, "N S"]
    least_first_kept: Bool[Tensor, "N S"]
    target: Int64[Tensor, " N"]
    share: Float[Tensor, " S"]
    advantage: Interval
    method: str
    of: str
    baseline: str
    explainer: str
    perturbed: Float[Tensor, "N S *shape"] | None = None

    units: ClassVar[Mapping[str, str]] = {
        "area_between": "the score's",
        "control_area_between": "the score's",
        "most_first": "the score's",
        "least_first": "the score's",
        "control_curve": "the score's",
        "share": "1",
        "advantage": "the score's",
        "perturbed": "the input's",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in four lines."""
        samples, draws = self.control_area_between.shape
        middle = int((self.share - self.share.mean()).abs().argmin())
        kept = (self.most_first_kept[:, middle], self.least_first_kept[:, middle])
        most, least = (part.double().mean().item() for part in kept)
        return "\n".join(
            [
                f"{self.method} by {self.explainer}, {samples} samples: mean area {self.area_between.mean():.4g} "
                f"between least and most important first under the {self.of} (higher is better)",
                f"{compared(self.advantage, UNITS[self.of])}, {draws} of them and their reverses",
                f"without {self.share[middle]:.0%} of the entries, {most:.0%} of the samples keep their class if the "
                f"most important go first, {least:.0%} if the least important do",
                f"removed entries are replaced by {self.baseline}",
            ]
        )

    def plot(self) -> Any:
        """Return an Altair chart: the mean score after each step in both orders, and dashed at random.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        curves = {
            "most important first": self.most_first,
            "least important first": self.least_first,
            "at random": self.control_curve,
        }
        return curve_chart(
            self.share, curves, "share of entries removed", f"mean {self.of}", purpose="PixelFlipping.plot()"
        )


@method(
    Reference(
        authors="Sebastian Bach, Alexander Binder, Grégoire Montavon, Frederick Klauschen, Klaus-Robert Müller, "
        "Wojciech Samek",
        title="On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance Propagation",
        venue="PLoS ONE",
        year=2015,
        doi="10.1371/journal.pone.0130140",
    ),
    Reference(
        authors="Wojciech Samek, Alexander Binder, Grégoire Montavon, Sebastian Lapuschkin, Klaus-Robert Müller",
        title="Evaluating the Visualization of What a Deep Neural Network Has Learned",
        venue="IEEE Transactions on Neural Networks and Learning Systems",
        year=2017,
        arxiv="1509.06321",
    ),
    cost="two forward passes for each step, and for each step of each random order",
)
def pixel_flipping(
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
) -> PixelFlipping:
    """Return the score of a class while entries are removed in both orders, and the area between the curves.

    ``∫ (s_least(q) - s_most(q)) dq`` over the share q removed, by the trapezoid rule, where s_most is the score when
    the most important entries go first and s_least when they go last. Entries, their order and that of equal
    attributions are those of :func:`trueline.explain.deletion`.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device; tables and images alike.
        explanation: as in :func:`trueline.explain.deletion`.
        target: as there.
        baseline: as there.
        of: as there.
        steps: as there.
        draws: random orders, at least 2; each is used in both directions.
        keep_inputs: return the samples after each step, most important entries first, too.
        chunk_size: as there.
        generator: as there.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: as there.
        TypeError: as there.

    Example:
        >>> model = nn.Linear(5, 3)
        >>> found = pixel_flipping(model, torch.randn(6, 5), steps=5)
        >>> torch.equal(found.most_first[:, 0], found.least_first[:, 0])
        True
    """
    check_score(of)
    check_draws(draws)
    replacement = ConstantBaseline() if baseline is None else as_baseline(baseline)
    read = read_maps(model, inputs, explanation, target, chunk_size)
    layout = map_layout(read.maps, inputs)
    counts = removal_counts(torch.Size(layout).numel(), steps)
    return both_orders(
        model, inputs, read, layout=layout, counts=counts, fill=fill_from(replacement), of=of, draws=draws,
        keep_inputs=keep_inputs, chunk_size=chunk_size, generator=default_generator(generator),
        name="pixel flipping", baseline=repr(replacement),
    )  # fmt: skip


def both_orders(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    read: ReadMaps,
    *,
    layout: tuple[int, ...],
    counts: Int64[Tensor, " S"],
    fill: Fill,
    of: RemovalScore,
    draws: int,
    keep_inputs: bool,
    chunk_size: int | None,
    generator: torch.Generator,
    name: str,
    baseline: str,
) -> PixelFlipping:
    """Return the record of any way to remove entries; the arguments have been checked.

    Args:
        model: as in :func:`pixel_flipping`.
        inputs: as there.
        read: maps and classes.
        layout: shape of what is removed of one sample.
        counts: (S,) how many entries are removed.
        fill: takes entries away.
        of: as there.
        draws: as there.
        keep_inputs: as there.
        chunk_size: as there.
        generator: as there.
        name: of the method.
        baseline: what replaces removed entries, as text.
    """
    entries = torch.Size(layout).numel()
    share = counts.double() / entries
    ties, *orders = random_orders(entries, 1 + draws, generator)
    removal = Removal(model, inputs, read.target, layout=layout, counts=counts, fill=fill, of=of, chunk_size=chunk_size)
    ranks = removal_ranks(read.maps, layout, ties)
    most, least = removal.run(ranks, keep=keep_inputs), removal.run(entries - 1 - ranks)
    between = area_under(least.score - most.score, share)
    control, control_between = [], []
    for order in orders:
        there = order.argsort().expand(len(inputs), -1)
        first, second = removal.run(there).score, removal.run(entries - 1 - there).score
        control.append((first + second) / 2)
        control_between.append(area_under(second - first, share))
    control_areas = torch.stack(control_between, dim=1)
    return PixelFlipping(
        area_between=between,
        control_area_between=control_areas,
        most_first=most.score,
        least_first=least.score,
        control_curve=torch.stack(control).mean(dim=0),
        most_first_kept=most.kept,
        least_first_kept=least.kept,
        target=read.target,
        share=share,
        advantage=paired_interval(between[:, None] - control_areas),
        method=name,
        of=of,
        baseline=baseline,
        explainer=read.explainer,
        perturbed=most.inputs,
    )
