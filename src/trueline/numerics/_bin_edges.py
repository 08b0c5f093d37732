"""Edges of bins on [0, 1]: of equal width, and of equal mass with two treatments of ties."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def equal_width_edges(bins: int, *, device: torch.device | str | None = None) -> Float[Tensor, " E"]:
    """Return the edges m/M of M bins of equal width on [0, 1].

    Args:
        bins: the number M of bins, at least one.
        device: where to make them.

    Returns:
        (M+1,) edges, float64, each rounded once (no repeated addition).

    Raises:
        ValueError: if ``bins`` is below one.
    """
    _check_bins(bins)
    return torch.arange(bins + 1, dtype=torch.float64, device=device) / bins


def equal_mass_edges(
    scores: Float[Tensor, "N *K"], bins: int, *, weight: Float[Tensor, " N"] | None = None
) -> Float[Tensor, "*K E"]:
    """Return edges that cut the scores into bins of nearly equal counts, never between equal scores.

    The cuts are those of :func:`equal_mass_split`; one that falls inside a tie moves below it, or above it if
    nothing is below. The edge lies midway between the neighbours of the cut. Cuts that meet are one, so ties
    leave fewer bins.

    With weights a sample counts as its weight over the mean of the positive weights, and a cut that falls inside a
    sample is treated like one inside a tie. So a constant weight changes nothing, a zero weight is absence, and
    scale does not matter. An integer weight equals as many repetitions up to one sample a cut only, because the
    sizes of the bins are rounded to whole samples of mean weight.

    Args:
        scores: (N,) scores in [0, 1], or (N, K) columns to be cut one by one.
        bins: the number M of bins wanted, at least one.
        weight: (N,) weights, finite, at least zero and positive somewhere; None for ones.

    Returns:
        (E,) edges from 0 to 1, float64, E <= M+1. For columns (K, M+1): the edge 1 stands in for missing
        cuts, which leaves their bins empty.

    Raises:
        ValueError: if ``bins`` is below one or there are no scores.

    Cost:
        One sort.
    """
    _check_bins(bins)
    scores = scores.detach()
    if weight is not None:
        scores, weight = scores[weight > 0], weight[weight > 0].detach().double()
    samples = len(scores)
    if samples < 1:
        raise ValueError("expected at least one score of positive weight, got none; equal-mass bins need data")
    rows = scores.T.contiguous() if scores.ndim == 2 else scores[None]
    ordered, order = rows.sort(dim=1)
    points = torch.tensor([cut for cut in _split_points(samples, bins)[1:-1] if cut < samples], device=rows.device)
    planned = points.long().expand(len(rows), -1)
    if weight is not None:
        planned = _weighted_ranks((weight / weight.mean())[order], planned)
    tied = ordered.gather(1, planned)
    below = torch.searchsorted(ordered, tied)
    cut = torch.where(below > 0, below, torch.searchsorted(ordered, tied, right=True))
    left = ordered.gather(1, cut - 1)
    right = ordered.gather(1, cut.clamp_max(samples - 1))
    middle = left + (right - left) / 2
    edge = torch.where(middle < right, middle, left).double().clamp_max(1.0)  # adjacent floats have no middle
    kept = (cut < samples) & (cut > torch.nn.functional.pad(cut, (1, 0))[:, :-1])
    edge = torch.where(kept, edge, 1.0).sort(dim=1).values
    if scores.ndim == 1:
        return torch.cat([edge.new_zeros(1), edge[0, : int(kept.sum())], edge.new_ones(1)])
    missing = edge.new_ones(len(rows), bins - edge.shape[1])
    return torch.cat([edge.new_zeros(len(rows), 1), edge, missing], dim=1)


def equal_mass_split(scores: Float[Tensor, "N *K"], bins: int) -> Int64[Tensor, "N *K"]:
    """Return the bin of each score when the sorted order is cut into M runs whose sizes differ by at most one.

    Equal scores may land in different bins, by their order in the input. Published tables use this cut;
    :func:`equal_mass_edges` is the one that does not depend on the order.

    Args:
        scores: (N,) scores, or (N, K) columns to be cut one by one.
        bins: the number M of bins, at least one.

    Returns:
        Bin numbers in [0, M), of the shape of ``scores``; the first ``N mod M`` runs hold one more.

    Raises:
        ValueError: if ``bins`` is below one.

    Cost:
        One stable sort.
    """
    _check_bins(bins)
    ends = torch.tensor(_split_points(len(scores), bins)[1:], device=scores.device)
    rank_bin = torch.bucketize(torch.arange(len(scores), device=scores.device), ends, right=True)
    order = scores.argsort(dim=0, stable=True)
    rank_bin = rank_bin if scores.ndim == 1 else rank_bin[:, None].expand_as(order)
    return torch.empty_like(order).scatter_(0, order, rank_bin)


def _weighted_ranks(mass: Tensor, points: Tensor) -> Tensor:
    """Return, for each row, the rank of the sample whose share of the accumulated mass begins at or holds a point."""
    total = mass.cumsum(dim=1)
    slack = 1e-9 * mass.shape[1]  # sums that meet a point up to rounding meet it
    return torch.searchsorted(total, points.double() + slack).clamp_max(mass.shape[1] - 1)


def _split_points(samples: int, bins: int) -> list[int]:
    """Return the M+1 ranks where runs begin and end."""
    size, longer = divmod(samples, bins)
    return [m * size + min(m, longer) for m in range(bins + 1)]


def _check_bins(bins: int) -> None:
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
