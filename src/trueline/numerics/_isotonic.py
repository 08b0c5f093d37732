"""Isotonic regression by pooling adjacent violators, for many columns at once."""

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

_PASSES = 64  # enough for data; an adversary can ask for as many as there are samples


def isotonic_fit(
    scores: Float[Tensor, "N *K"],
    outcomes: Real[Tensor, "N *K"] | Bool[Tensor, "N *K"],
    *,
    weight: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, "N *K"]:
    """Return the non-decreasing function of the scores that is closest to the outcomes, at the scores.

    ``min_g Σ_i w_i (g(s_i) - y_i)²`` over non-decreasing g. Samples with equal scores get one value. The fit is
    constant on blocks of neighbouring scores, where it is the weighted mean of the outcomes, so it lies between the
    lowest and the highest outcome. A score that no sample of positive weight has gets the value of the next lower
    one that has, or of the lowest such score if none is lower.

    Args:
        scores: (N,) scores, or (N, K) columns to be fitted one by one; finite.
        outcomes: what the scores predict, same shape; finite numbers or truth values.
        weight: (N,) weights, at least zero and positive somewhere; None for ones.

    Returns:
        The fitted values in the order of the input, float64, of the shape of ``scores``.

    Raises:
        ValueError: if there are no samples, shapes differ, or a value is not finite.

    Cost:
        One sort per column, then a few passes over blocks that shrink from each to the next.

    Reference:
        Ayer, Brunk, Ewing, Reid, Silverman. An empirical distribution function for sampling with incomplete
        information. Annals of Mathematical Statistics, 1955.

    Example:
        >>> isotonic_fit(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0, 1, 0, 1])).tolist()
        [0.0, 0.5, 0.5, 1.0]
    """
    _check(scores, outcomes, weight)
    shape = scores.shape
    rows = scores.detach().reshape(shape[0], -1).T.contiguous()
    targets = outcomes.detach().reshape(shape[0], -1).T.double()
    ordered, order = rows.sort(dim=1)
    # One block for each distinct score of each column, all columns in one line; a block knows where it starts.
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    block = _number(starts.flatten()).view_as(order)
    column = torch.arange(len(rows), device=rows.device)[:, None].expand_as(order)[starts]
    shares = torch.ones_like(targets) if weight is None else weight.detach().double()[order]
    masses = _sums(shares.flatten(), block.flatten(), len(column))
    totals = _sums((shares * targets.gather(1, order)).flatten(), block.flatten(), len(column))
    levels = _levels(masses, totals, column)
    fitted = torch.empty_like(targets).scatter_(1, order, levels[block])
    return fitted.T.reshape(shape)


def _levels(masses: Tensor, totals: Tensor, column: Tensor) -> Tensor:
    """Return the fitted value of each block, given its weight and its weighted sum of outcomes."""
    known = masses > 0
    # The last known block at or below, unless that is of another column: then the first one of this column.
    nearest = _number(known).clamp_min(0)
    nearest = nearest + (column[known][nearest] != column).long()
    pool = torch.arange(int(known.sum()), device=masses.device)
    masses, totals, column = masses[known], totals[known], column[known]
    for _ in range(_PASSES):
        means = totals / masses
        starts = torch.ones_like(column, dtype=torch.bool)
        # Equal neighbours are pooled as well: a run of ones before a zero then goes in one pass.
        starts[1:] = (means[1:] > means[:-1]) | (column[1:] != column[:-1])
        if starts.all():
            return means[pool][nearest]
        # Every run of violators is one block of the answer or part of one, whichever pair is pooled first.
        merged = _number(starts)
        pool = merged[pool]
        column = column[starts]
        masses, totals = _sums(masses, merged, len(column)), _sums(totals, merged, len(column))
    return _finish(masses, totals, column)[pool][nearest]


def _finish(masses: Tensor, totals: Tensor, column: Tensor) -> Tensor:
    """Pool what is left one block at a time, in time linear in their number whatever the data."""
    stack: list[tuple[float, float, int, int]] = []  # weight, sum, column and number of blocks
    for mass, total, place in zip(masses.tolist(), totals.tolist(), column.tolist(), strict=True):
        pooled = (mass, total, place, 1)
        while stack and stack[-1][2] == place and stack[-1][1] / stack[-1][0] >= pooled[1] / pooled[0]:
            lower = stack.pop()
            pooled = (lower[0] + pooled[0], lower[1] + pooled[1], place, lower[3] + pooled[3])
        stack.append(pooled)
    means = masses.new_tensor([total / mass for mass, total, _, _ in stack])
    return means.repeat_interleave(torch.tensor([entry[3] for entry in stack], device=masses.device))


def _number(starts: Tensor) -> Tensor:
    """Return for each place how many places at or before it are true, less one."""
    return starts.cumsum(0) - 1


def _sums(values: Tensor, index: Tensor, count: int) -> Tensor:
    return values.new_zeros(count).index_add_(0, index, values)


def _check(scores: Tensor, outcomes: Tensor, weight: Tensor | None) -> None:
    if not scores.is_floating_point():
        raise TypeError(f"scores must be floating point, got {scores.dtype}; convert with scores.float()")
    if scores.ndim not in (1, 2) or scores.numel() == 0 or outcomes.shape != scores.shape:
        raise ValueError(
            "scores and outcomes must have one shape, (N,) or (N, K) with N >= 1, "
            f"got {tuple(scores.shape)} and {tuple(outcomes.shape)}"
        )
    if not (scores.isfinite().all() and outcomes.isfinite().all()):
        raise ValueError("scores and outcomes must be finite; remove the samples that are not")
    if weight is None:
        return
    if weight.shape != scores.shape[:1]:
        raise ValueError(f"weight must have shape ({len(scores)},) to match the scores, got {tuple(weight.shape)}")
    if not (weight.isfinite().all() and (weight >= 0).all() and weight.sum() > 0):
        raise ValueError("weight must be finite, at least zero and positive somewhere")
