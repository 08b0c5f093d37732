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
    ordered, order, places, levels = _pooled(scores, outcomes, weight)
    ends = places.new_tensor([ordered.numel()])
    fitted = levels.repeat_interleave(torch.diff(places, append=ends)).view_as(order)
    return torch.empty_like(fitted).scatter_(1, order, fitted).T.reshape(scores.shape)


def isotonic_blocks(
    scores: Float[Tensor, "N *K"],
    outcomes: Real[Tensor, "N *K"] | Bool[Tensor, "N *K"],
    *,
    weight: Float[Tensor, " N"] | None = None,
) -> list[tuple[Float[Tensor, " M"], Float[Tensor, " M"], Float[Tensor, " M"]]]:
    """Return the blocks on which :func:`isotonic_fit` is constant, of each column on its own.

    Args:
        scores: (N,) scores, or (N, K) columns to be fitted one by one; finite.
        outcomes: what the scores predict, same shape; finite numbers or truth values.
        weight: (N,) weights, at least zero and positive somewhere; None for ones.

    Returns:
        For each column the lowest score of every block, its highest score, both in the dtype of the scores, and the
        value there, float64; all in rising order.

    Raises:
        ValueError: as :func:`isotonic_fit`.

    Cost:
        That of the fit, less what it takes to tell every sample its value.

    Example:
        >>> low, high, level = isotonic_blocks(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0, 1, 0, 1]))[0]
        >>> level.tolist(), low.mul(10).round().tolist(), high.mul(10).round().tolist()
        ([0.0, 0.5, 1.0], [1.0, 2.0, 4.0], [1.0, 3.0, 4.0])
    """
    ordered, _, places, levels = _pooled(scores, outcomes, weight)
    line = ordered.flatten()
    last = torch.diff(places, append=places.new_tensor([len(line)])) + places - 1
    sizes = torch.bincount(places // ordered.shape[1], minlength=len(ordered)).tolist()
    parts = (torch.split(values, sizes) for values in (line[places], line[last], levels))
    return list(zip(*parts, strict=True))


def _pooled(scores: Tensor, outcomes: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the scores of each column in order, that order, and where in these rows, as one line, blocks start.

    The fourth is the fitted value of each block.
    """
    _check(scores, outcomes, weight)
    rows = scores.detach().reshape(len(scores), -1).T.contiguous()
    targets = outcomes.detach().reshape(len(scores), -1).T.contiguous()
    ordered, order = rows.sort(dim=1)
    totals = targets.gather(1, order).double().flatten()
    shares = None if weight is None else weight.detach().double()[order].flatten()
    if shares is not None:
        totals *= shares
    # One block for each distinct score of each column, all columns in one line; a block knows where it starts.
    starts = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[:, 1:], ordered[:, :-1], out=starts[:, 1:])
    starts = starts.flatten()
    places = starts.nonzero().squeeze(1)
    if len(places) < len(starts):
        block = _number(starts)
        totals = _sums(totals, block, len(places))
        shares = None if shares is None else _sums(shares, block, len(places))
    masses = torch.diff(places, append=places.new_tensor([len(starts)])).double() if shares is None else shares
    return ordered, order, *_levels(masses, totals, places, ordered.shape[1])


def _levels(masses: Tensor, totals: Tensor, places: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return where the blocks of the fit start, and their values.

    Args:
        masses: the weight at each distinct score.
        totals: the weighted sum of outcomes there.
        places: where it starts in a line of columns.
        width: the length of a column.
    """
    column = places // width
    known = masses > 0
    if not known.all():
        kept = known.nonzero().squeeze(1)
        masses, totals, places, column = (values[kept] for values in (masses, totals, places, column))
        # Scores without weight belong to the block below, and to the lowest of their column where there is none.
        first = torch.ones_like(column, dtype=torch.bool)
        first[1:] = column[1:] != column[:-1]
        places = torch.where(first, column * width, places)
    for _ in range(_PASSES):
        means = totals / masses
        starts = torch.ones_like(column, dtype=torch.bool)
        # Equal neighbours are pooled as well: a run of ones before a zero then goes in one pass.
        starts[1:] = (means[1:] > means[:-1]) | (column[1:] != column[:-1])
        kept = starts.nonzero().squeeze(1)
        if len(kept) == len(starts):
            return places, means
        # Every run of violators is one block of the answer or part of one, whichever pair is pooled first.
        merged = _number(starts)
        places, column = places[kept], column[kept]
        masses, totals = _sums(masses, merged, len(kept)), _sums(totals, merged, len(kept))
    lengths, means = _finish(masses, totals, column)
    return places[lengths.cumsum(0) - lengths], means


def _finish(masses: Tensor, totals: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Pool what is left one block at a time, in time linear in their number whatever the data.

    Returns how many blocks became one each time, and the values of these.
    """
    stack: list[tuple[float, float, int, int]] = []  # weight, sum, column and number of blocks
    for mass, total, place in zip(masses.tolist(), totals.tolist(), column.tolist(), strict=True):
        pooled = (mass, total, place, 1)
        while stack and stack[-1][2] == place and stack[-1][1] / stack[-1][0] >= pooled[1] / pooled[0]:
            lower = stack.pop()
            pooled = (lower[0] + pooled[0], lower[1] + pooled[1], place, lower[3] + pooled[3])
        stack.append(pooled)
    means = masses.new_tensor([total / mass for mass, total, _, _ in stack])
    return torch.tensor([entry[3] for entry in stack], device=masses.device), means


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
