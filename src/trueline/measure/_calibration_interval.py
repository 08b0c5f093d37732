"""The calibration error with its bootstrap interval, by Efron (1979), resampled from sums over bins, not from rows."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_weight, method, read_hits
from trueline.measure._resampling import FEWEST, reflected
from trueline.numerics import Interval, bin_index, equal_mass_edges, equal_width_edges


@method(
    Reference(
        authors="Bradley Efron",
        title="Bootstrap Methods: Another Look at the Jackknife",
        venue="The Annals of Statistics",
        year=1979,
        doi="10.1214/aos/1176344552",
    ),
    cost="one pass over the predictions; the resamples cost the number of bins, not of samples",
)
def calibration_error_interval(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    draws: int = 1000,
    generator: torch.Generator | None = None,
) -> Interval:
    """Return the expected calibration error of the top label with its 95 % bootstrap interval.

    A resample of rows moves the sums ``D_b = Σ_{i in b} w_i (c_i - a_i)`` of all bins together with the total weight.
    For many rows these moves are normal, and their covariance follows from three more sums a bin: of ``w²``,
    ``w² (c - a)`` and ``w² (c - a)²``. So the moves are drawn directly. Resampling adds noise to every gap, as sampling
    did before; the interval ``2·value - quantile`` takes that back, cut to [0, 1] and widened to hold the value. Edges
    of equal-mass bins are held fixed.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones.
        bins: number of bins wanted, at least one.
        binning: ``"width"`` or ``"mass"``, as in :func:`calibration_error`.
        draws: number of resamples.
        generator: draws them; None for one seeded with 0.

    Returns:
        The error and its interval; the ends are infinite below 30 samples, which are too few to tell.

    Raises:
        ValueError: if the predictions, labels, weights or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> found = calibration_error_interval(torch.arange(400) % 2, probs=torch.full((400,), 0.8))
        >>> round(found.value, 3), round(found.low, 2), round(found.high, 2)
        (0.3, 0.25, 0.35)
    """
    if binning not in ("width", "mass"):
        raise ValueError(f"binning must be 'width' or 'mass', got {binning!r}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    if weight is not None:
        check_weight(weight, len(labels))
    confidence, hit = read_hits(labels, logits=logits, probs=probs)
    return from_top_label(confidence, hit, weight=weight, bins=bins, binning=binning, draws=draws, generator=generator)


def from_top_label(
    confidence: Float[Tensor, " N"],
    hit: Bool[Tensor, " N"],
    *,
    weight: Float[Tensor, " N"] | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    draws: int = 1000,
    generator: torch.Generator | None = None,
) -> Interval:
    """Return :func:`calibration_error_interval` of predictions that are read and checked already.

    Args:
        confidence: (N,) largest probabilities.
        hit: (N,) whether each prediction is right.
        weight: (N,) weights; None for ones.
        bins: as there.
        binning: as there.
        draws: as there.
        generator: as there.
    """
    confidence, hit = confidence.detach().cpu(), hit.cpu()
    edges = equal_width_edges(bins) if binning == "width" else equal_mass_edges(confidence, bins, weight=weight)
    index = bin_index(confidence, edges)
    gap = confidence.double() - hit.double()
    w = torch.ones_like(gap) if weight is None else weight.detach().double().cpu()
    columns = (w * gap, w, w.square(), w.square() * gap, (w * gap).square())
    size = len(edges) - 1
    gaps, weights, ww, wwd, wwdd = (torch.bincount(index, weights=column, minlength=size) for column in columns)
    total = weights.sum()
    value = (gaps.abs().sum() / total).item()
    if len(confidence) < FEWEST:
        return Interval(value, -math.inf, math.inf)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    normal = torch.randn(2, draws, size, generator=generator, dtype=torch.float64)
    filled = torch.where(ww > 0, ww, 1)
    moved_weight = ww.sqrt() * normal[0]
    own = (wwdd - wwd.square() / filled).clamp_min(0).sqrt()  # what of a gap's move its weight does not explain
    moved_gap = (wwd / filled.sqrt()) * normal[0] + own * normal[1]
    drawn = gaps + moved_gap - (gaps / total) * moved_weight.sum(dim=1, keepdim=True)
    return Interval(value, *reflected(value, drawn.abs().sum(dim=1) / total))
