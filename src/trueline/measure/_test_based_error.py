"""The share of predictions that a test rejects (TCE), by Matsubara, Tax, Mudd and Guy (2023)."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.measure._binomial_test import binomial_p_value
from trueline.measure._calibration_by import check_groups
from trueline.measure._events import Event, read_event
from trueline.measure._pava_bc import pava_bc
from trueline.measure._rejections import CalibrationRejections
from trueline.measure._resampling import FEWEST, reflected
from trueline.numerics import Interval, bin_index, equal_mass_edges, equal_width_edges

_NULL_DRAWS, _NULL_TESTS = 40, 20_000  # draws of calibrated labels at most; predictions tested in them
_CELLS = 200  # cells of nearly equal scores that resamples are drawn from


@method(
    Reference(
        authors="Takuo Matsubara, Niek Tax, Richard Mudd, Ido Guy",
        title="TCE: A Test-Based Approach to Measuring Calibration Error",
        venue="UAI",
        year=2023,
        arxiv="2306.14343",
    ),
    cost="one sort, a Python loop over distinct scores, and about √(20·n_b) exponentials for each of them, up to 41 "
    "times, and of 200 cells a draw",
)
def calibration_rejections(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    event: Event = "top_label",
    groups: Int64[Tensor, " N"] | None = None,
    binning: Literal["pava", "width", "mass"] = "pava",
    bins: int = 15,
    smallest: int = 10,
    largest: int = 1000,
    alpha: float = 0.05,
    draws: int = 200,
    generator: torch.Generator | None = None,
) -> CalibrationRejections:
    """Return which predictions a test rejects, and their share: the test-based calibration error (TCE).

    Each predicted probability p is tested against the k events among the n samples of its bin by the exact two-sided
    binomial test; the error is the share of predictions with a p-value of at most ``alpha``. The paper prints it in
    percent. A calibrated model has an error near ``alpha`` in bins that are fixed and hold nearly equal predictions
    only. Blocks of ``"pava"`` follow the labels, noise and all, so that of few samples far more are rejected. So
    ``null`` says what this model would show if it were calibrated: the mean error of labels drawn from its
    predictions, binned anew, over 40 draws, fewer from 500 predictions on and two from 10,000.

    The power of the tests grows with the bins, and so does the spread of the predictions inside one: with bins in
    proportion to N the error of any model, a calibrated one too, goes to 1. So the default limits are fixed numbers,
    those of the authors' package, and the result repeats them: errors compare only at equal limits.

    The interval is ours: 95 % of resamples of the samples in each bin, bins held fixed, from cells of nearly equal
    predictions, reflected about the value as in :func:`calibration_error_interval`.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        event: ``"top_label"``: that the most probable class is right. ``"positive"``: that the label is class 1 of
            two, as in the paper. ``"classwise"``: that the label is class k, for each k, with bins of its own.
        groups: (N,) int64 numbers of groups, which get bins of their own; None for one group.
        binning: ``"pava"``: isotonic regression with blocks of limited size. ``"width"``, ``"mass"``: as in
            :func:`calibration_error`.
        bins: number of bins for the latter two, at least one.
        smallest: samples below which blocks are merged, at least 0; for ``"pava"``.
        largest: samples above which they are not, at least ``smallest`` and 1.
        alpha: level of the tests, in (0, 1).
        draws: number of resamples.
        generator: draws them; None for one seeded with 0.

    Returns:
        The p-value and bin of each prediction, the bins, and the error with its interval.

    Raises:
        ValueError: if the predictions, labels or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> found = calibration_rejections(torch.arange(100) % 2, probs=torch.full((100,), 0.9), event="positive")
        >>> found.error.value
        1.0
    """
    _check_options(binning, smallest, largest, alpha, draws)
    scores, hits = read_event(labels, logits=logits, probs=probs, event=event)
    scores = scores.clamp(0, 1)  # a softmax in single precision may round to more than 1, which is no rate
    members = _members(groups, scores)

    def placed(p: Tensor, hit: Tensor) -> Tensor:
        if binning == "pava":
            return pava_bc(p, hit, smallest=smallest, largest=largest)
        edges = equal_width_edges(bins) if binning == "width" else equal_mass_edges(p, bins)
        place: Tensor = torch.unique(bin_index(p, edges), return_inverse=True)[1]
        return place

    names, parts = list[str](), list[float]()
    index = torch.empty(scores.shape, dtype=torch.int64)
    p_values = torch.empty(scores.shape, dtype=torch.float64)
    tables: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]] = []
    total = 0
    for group, rows in members:
        for column in range(scores.shape[1]):
            p, hit = scores[rows, column], hits[rows, column]
            place = placed(p, hit)
            table = _table(p.double(), hit, place)
            tables.append((*table, torch.full_like(table[2], len(names))))
            p_values[rows, column] = _tested(p.double(), place, *table[2:])
            index[rows, column] = place + total
            total += len(table[0])
            names.append(_name(event, group, column))
            parts.append((p_values[rows, column] <= alpha).double().mean().item())
    lower, upper, count, hit_count, part = (torch.cat(columns) for columns in zip(*tables, strict=True))
    rejected = (p_values <= alpha).double()
    value = rejected.mean().item()
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    low, high = -math.inf, math.inf
    if len(scores) >= FEWEST:
        low, high = reflected(value, _resampled(scores.double(), hits, index, alpha, draws, generator))
    # Drawn last, so that the interval is the same as without.
    null = _calibrated(scores, members, placed, alpha, generator)
    return CalibrationRejections(
        p_values=p_values,
        bin_of=index,
        scores=scores.double(),
        lower=lower,
        upper=upper,
        count=count,
        hits=hit_count,
        rejected=torch.zeros(total, dtype=torch.float64).index_add_(0, index.flatten(), rejected.flatten()) / count,
        part=part,
        parts=tuple(names),
        part_errors=tuple(parts),
        error=Interval(value, low, high),
        null=null,
        alpha=alpha,
        event=event,
        binning=binning,
        smallest=smallest if binning == "pava" else int(count.min()),
        largest=largest if binning == "pava" else int(count.max()),
    )


def _calibrated(
    scores: Tensor,
    members: list[tuple[int | None, Tensor]],
    placed: Callable[[Tensor, Tensor], Tensor],
    alpha: float,
    generator: torch.Generator,
) -> float:
    """Return the mean error of labels drawn from the predictions; events of classes may be drawn one by one."""
    draws = min(_NULL_DRAWS, max(2, _NULL_TESTS // scores.numel()))
    rejected = 0
    for _ in range(draws):
        drawn = torch.bernoulli(scores.double(), generator=generator).bool()
        for _, rows in members:
            for column in range(scores.shape[1]):
                p, hit = scores[rows, column], drawn[rows, column]
                place = placed(p, hit)
                rejected += int((_tested(p.double(), place, *_table(p.double(), hit, place)[2:]) <= alpha).sum())
    return rejected / (draws * scores.numel())


def _members(groups: Int64[Tensor, " N"] | None, scores: Tensor) -> list[tuple[int | None, Tensor]]:
    if groups is None:
        return [(None, torch.arange(len(scores)))]
    return [(number, (groups.cpu() == number).nonzero().squeeze(1)) for number in check_groups(groups, len(scores))]


def _name(event: str, group: int | None, column: int) -> str:
    words = [f"class {column}"] if event == "classwise" else []
    return ", ".join(words + ([] if group is None else [f"group {group}"])) or "all"


def _table(p: Tensor, hit: Bool[Tensor, " N"], place: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the lowest and the highest prediction, the number of samples and of events in each bin."""
    count = torch.bincount(place)
    ends = [p.new_zeros(len(count)).scatter_reduce(0, place, p, how, include_self=False) for how in ("amin", "amax")]
    return ends[0], ends[1], count, torch.bincount(place[hit], minlength=len(count))


def _tested(p: Tensor, place: Tensor, count: Tensor, hits: Tensor) -> Tensor:
    """Return the p-value of each prediction; equal ones share a bin, and so a test."""
    rates, inverse = torch.unique(p, return_inverse=True)
    bin_of = torch.empty_like(inverse[: len(rates)]).scatter_(0, inverse, place)
    return binomial_p_value(hits[bin_of], count[bin_of], rates)[inverse]


def _resampled(
    scores: Tensor, hits: Tensor, index: Tensor, alpha: float, draws: int, generator: torch.Generator
) -> Float[Tensor, " R"]:
    """Return the error of each resample; the samples of a cell of a bin share their mean prediction."""
    p, hit, place = scores.flatten(), hits.flatten().double(), index.flatten()
    order = p.argsort(stable=True)
    order = order[place[order].argsort(stable=True)]
    p, hit, place = p[order], hit[order], place[order]
    count = torch.bincount(place)
    rank = torch.arange(len(p)) - (count.cumsum(0) - count)[place]
    each = max(1, _CELLS // len(count))
    size = (count / each).ceil().long().clamp_min(1)
    cell = torch.unique_consecutive(place * each + rank // size[place], return_inverse=True)[1]
    held = torch.bincount(cell).double()
    rate, share = (torch.bincount(cell, weights=values) / held for values in (p, hit))
    bin_of = torch.zeros(len(held), dtype=torch.int64).scatter_(0, cell, place)
    number = torch.poisson(held.expand(draws, -1), generator=generator)
    right = torch.binomial(number, share.clamp(0, 1).expand_as(number).contiguous(), generator=generator)
    n, k = (torch.zeros(draws, len(count), dtype=v.dtype).index_add_(1, bin_of, v).long() for v in (number, right))
    tested = binomial_p_value(k[:, bin_of].flatten(), n[:, bin_of].flatten(), rate.repeat(draws)).view(draws, -1)
    return ((tested <= alpha) * number).sum(dim=1) / number.sum(dim=1).clamp_min(1)


def _check_options(binning: str, smallest: int, largest: int, alpha: float, draws: int) -> None:
    if binning not in ("pava", "width", "mass"):
        raise ValueError(f"binning must be 'pava', 'width' or 'mass', got {binning!r}")
    if smallest < 0 or largest < max(1, smallest):
        raise ValueError(
            f"expected 0 <= smallest <= largest and largest >= 1, got smallest={smallest} and largest={largest}"
        )
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha}; for 5 % pass 0.05")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
