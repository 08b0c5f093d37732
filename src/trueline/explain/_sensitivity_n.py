"""Sensitivity-n of attributions, by Ancona et al. (2018)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Record, Reference, default_generator, method
from trueline.explain._against_random import check_draws, compared, curve_chart, paired_interval
from trueline.explain._baselines import ConstantBaseline, as_baseline
from trueline.explain._read_maps import read_maps
from trueline.explain._removal import fill_from
from trueline.explain._removal_order import map_layout, random_orders
from trueline.explain._removal_score import RemovalScore, check_score
from trueline.explain._score_drops import inputs_at_once, score_drops
from trueline.numerics import Interval

_SIZES = 10  # where the caller names none
_LARGEST = 0.8  # share of the entries in the largest subsets then, as the authors have it
_CONSTANT = 1e-12  # standard deviation, relative to the largest value, that counts as none


@dataclass(frozen=True, eq=False)
class SensitivityN(Record):
    """How well sums of attributions follow the drops of the score when those entries are removed.

    Args:
        mean_correlation: (N,) mean over the sizes; higher is better.
        correlation: (N, L) Pearson correlation over the subsets of each size; 0 where the sums or the drops do not
            vary, so that neither follows the other.
        control_mean_correlation: (N, draws) of the maps with their entries in random orders, the same for all samples.
        control_correlation: (N, L) mean over the random orders.
        sizes: (L,) entries in a subset.
        target: (N,) the class, fixed from the clean prediction where it was not given.
        advantage: mean of ``mean_correlation`` above that of the controls, and the 95 % interval of the paired
            difference; infinite for one sample.
        of: the score.
        baseline: what replaces removed entries.
        explainer: what made the maps.
    """

    mean_correlation: Float[Tensor, " N"]
    correlation: Float[Tensor, "N L"]
    control_mean_correlation: Float[Tensor, "N draws"]
    control_correlation: Float[Tensor, "N L"]
    sizes: Int64[Tensor, " L"]
    target: Int64[Tensor, " N"]
    advantage: Interval
    of: str
    baseline: str
    explainer: str

    units: ClassVar[Mapping[str, str]] = {
        "mean_correlation": "1",
        "correlation": "1",
        "control_mean_correlation": "1",
        "control_correlation": "1",
        "advantage": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in two lines."""
        return (
            f"sensitivity-n of {self.explainer} at {len(self.correlation)} samples, subsets of {int(self.sizes[0])} to "
            f"{int(self.sizes[-1])} entries replaced by {self.baseline}: mean correlation "
            f"{self.mean_correlation.mean():.4g} with the drop of the {self.of}\n"
            f"{compared(self.advantage, 'of correlation')}"
        )

    def plot(self) -> Any:
        """Return an Altair chart: the mean correlation for each size, and dashed that of random orders.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        curves = {"the maps": self.correlation, "their entries at random": self.control_correlation}
        title = "correlation with the drop of the score"
        return curve_chart(self.sizes.double(), curves, "entries removed", title, purpose="SensitivityN.plot()")


@method(
    Reference(
        authors="Marco Ancona, Enea Ceolini, Cengiz Öztireli, Markus Gross",
        title="Towards Better Understanding of Gradient-Based Attribution Methods for Deep Neural Networks",
        venue="ICLR",
        year=2018,
        arxiv="1711.06104",
    ),
    cost="a forward pass for each subset",
)
def sensitivity_n(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    explanation: Any = None,
    target: Int64[Tensor, " N"] | None = None,
    *,
    sizes: Sequence[int] | None = None,
    subsets: int = 100,
    baseline: Any = None,
    of: RemovalScore = "logit",
    draws: int = 5,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> SensitivityN:
    """Return the correlation between sums of attributions and drops of the score over random subsets of n entries.

    ``corr_S(Σ_{i in S} e_i, f(x) - f(x without S))`` over random S with n entries, the same for all samples. It is 1
    for every n where the score is additive and e_i is the contribution of entry i. Entries are those of
    :func:`trueline.explain.deletion`.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        explanation: as in :func:`trueline.explain.deletion`.
        target: as there.
        sizes: increasing values of n, from 1 to one less than the number of entries; None for ten or fewer, evenly
            spaced on a logarithmic scale up to 80 % of the entries.
        subsets: number of subsets of each size, at least 2.
        baseline: as there.
        of: as there.
        draws: random orders of the maps' entries for the control, at least 2; they cost no pass.
        chunk_size: inputs that pass the model at once, a sample's perturbed copies in blocks of at most as many; None
            for what is fast, and for all samples at once in an explainer. It changes the memory, not the answer.
        generator: draws the random orders and the subsets; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, maps do not fit the inputs, logits or maps are not finite, or a
            batch-norm layer has no running statistics, so that samples depend on each other.
        TypeError: if a dtype is wrong, or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Linear(6, 2).double()
        >>> inputs = torch.randn(4, 6, dtype=torch.float64)
        >>> predicted = model(inputs).argmax(dim=1)
        >>> found = sensitivity_n(model, inputs, (inputs * model.weight[predicted]).detach())
        >>> bool((found.correlation > 1 - 1e-9).all())
        True
    """
    check_score(of)
    check_draws(draws)
    if subsets < 2:
        raise ValueError(f"subsets must be at least 2, so that there is a correlation, got {subsets}")
    replacement = ConstantBaseline() if baseline is None else as_baseline(baseline)
    maps, target, explainer = read_maps(model, inputs, explanation, target, chunk_size)
    layout = map_layout(maps, inputs)
    entries = torch.Size(layout).numel()
    rows = (maps.sum(dim=1) if maps[0].numel() != entries else maps).flatten(1)
    numbers = _sizes(sizes, entries)
    generator = default_generator(generator)
    orders = random_orders(entries, draws, generator)
    limit = inputs_at_once(inputs, chunk_size)
    fill, found = fill_from(replacement), []
    for size in numbers.tolist():
        chosen = random_orders(entries, subsets, generator).argsort(dim=1) < size
        sums = torch.stack([rows @ chosen.T.double(), *(rows[:, order] @ chosen.T.double() for order in orders)], dim=1)
        drops = []
        for some in chosen.split(limit):
            removed = some.view(1, -1, *layout).to(inputs.device)

            def change(part: Tensor, removed: Tensor = removed) -> Tensor:
                return fill(part, removed)

            drops.append(score_drops(model, inputs, target, change, len(some), of=of, limit=limit))
        found.append(_correlation(sums, torch.cat(drops, dim=1)[:, None]))
    every = torch.stack(found, dim=2)
    means = every.mean(dim=2)
    return SensitivityN(
        mean_correlation=means[:, 0],
        correlation=every[:, 0],
        control_mean_correlation=means[:, 1:],
        control_correlation=every[:, 1:].mean(dim=1),
        sizes=numbers,
        target=target,
        advantage=paired_interval(means[:, :1] - means[:, 1:]),
        of=of,
        baseline=repr(replacement),
        explainer=explainer,
    )


def _sizes(sizes: Sequence[int] | None, entries: int) -> Int64[Tensor, " L"]:
    if entries < 2:
        raise ValueError("sensitivity-n needs samples of at least two entries, got one")
    if sizes is None:
        largest = max(1, int(_LARGEST * entries))
        return torch.tensor(sorted({round(largest ** (k / (_SIZES - 1))) for k in range(_SIZES)}))
    found = torch.tensor(list(sizes), dtype=torch.int64)
    if not len(found) or int(found[0]) < 1 or int(found[-1]) >= entries or (found.diff() < 1).any():
        raise ValueError(f"sizes must increase from 1 at least to {entries - 1} at most, got {tuple(sizes)}")
    return found


def _correlation(first: Float[Tensor, "N K S"], second: Float[Tensor, "N 1 S"]) -> Float[Tensor, "N K"]:
    """Return Pearson's correlation along the last axis, 0 where one of the two does not vary."""
    parts, varies = [], []
    for values in (first, second):
        centred = values - values.mean(dim=2, keepdim=True)
        length = centred.norm(dim=2, keepdim=True)
        parts.append(centred / torch.where(length > 0, length, 1))
        varies.append(length.squeeze(2) > _CONSTANT * values.shape[2] ** 0.5 * values.abs().amax(dim=2))
    return torch.where(varies[0] & varies[1], (parts[0] * parts[1]).sum(dim=2).clamp(-1, 1), 0)
