"""What non-parametric maps of one score share: ties, cuts of equal mass, look-ups, and a share of the uniform."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from trueline.calibrate._one_versus_rest import TINY

_ENTRIES = 1 << 21  # scores worked on at once: temporaries stay small
_COLUMNS = 32  # columns looked up at once
BEYOND = torch.finfo(torch.float64).max  # an edge that no score lies above


def single_scores(log_odds: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """Return log-odds in single precision, in which scores that differ by rounding alone are ties.

    Logits and their probabilities, or rows that differ by a constant, give log-odds that agree to about 1e-14. A map
    with jumps must not tell them apart.

    Args:
        log_odds: (N, K) log-odds, float64.

    Returns:
        (N, K) float32, finite.
    """
    limit = torch.finfo(torch.float32).max
    return log_odds.clamp(-limit, limit).float()


def present(
    log_odds: Float[Tensor, "N K"], hits: Float[Tensor, "N K"], weight: Float[Tensor, " N"] | None
) -> tuple[Float[Tensor, "P K"], Float[Tensor, "P K"], Float[Tensor, " P"]]:
    """Return scores, hits and weights of the samples that count; a weight of zero is absence.

    Args:
        log_odds: (N, K) log-odds.
        hits: (N, K) whether each class is right.
        weight: (N,) weights, or None for ones.

    Returns:
        Single-precision scores, hits and weights of the P samples of positive weight.
    """
    if weight is None:
        return single_scores(log_odds), hits, torch.ones_like(hits[:, 0])
    held = weight > 0
    return single_scores(log_odds[held]), hits[held], weight[held]


def column_runs(samples: int, columns: int) -> Iterator[slice]:
    """Cut the columns into runs, short enough for temporaries of several times their size.

    Args:
        samples: number of rows.
        columns: number of columns.

    Yields:
        Slices of columns.
    """
    width = max(1, _ENTRIES // samples)
    for start in range(0, columns, width):
        yield slice(start, start + width)


def equal_mass_ranks(
    ordered: Float[Tensor, "K N"], mass: Float[Tensor, "K N"], shares: Float[Tensor, " S"]
) -> Int64[Tensor, "K S"]:
    """Return how many scores lie below each cut of the weighted distribution function.

    The cut for a share lies between two distinct scores, where the share of the weight below is nearest to it; the
    lower of two that are equally near. It depends on weights of equal scores by their sum alone, so an integer weight
    equals as many repetitions. A cut below all scores moves up, one above all moves down; cuts may meet.

    Args:
        ordered: (K, N) scores, ascending in each row.
        mass: (K, N) their weights, positive.
        shares: (S,) wanted shares below the cuts, ascending, strictly between 0 and 1.

    Returns:
        (K, S) ranks in [1, N-1]; N in a row whose scores are all equal.
    """
    samples = ordered.shape[1]
    below = pad(mass.cumsum(dim=1), (1, 0))  # below[r]: the weight of the r lowest scores
    target = below[:, -1:] * shares
    slack = 1e-9 * below[:, -1:]  # sums that meet a share up to rounding meet it
    at = ordered.gather(1, torch.searchsorted(below[:, 1:].contiguous(), target - slack).clamp_max(samples - 1))
    low, high = torch.searchsorted(ordered, at), torch.searchsorted(ordered, at, right=True)
    nearer = target - below.gather(1, low) <= below.gather(1, high) - target + slack
    cut = torch.where(nearer & (low > 0) | (high == samples), low, high)
    return torch.where(cut > 0, cut, samples)


def edges_at(ordered: Float[Tensor, "K N"], ranks: Int64[Tensor, "K S"]) -> Float[Tensor, "K S"]:
    """Return the edges midway between the scores on the two sides of each cut.

    Args:
        ordered: (K, N) scores in single precision, ascending in each row.
        ranks: (K, S) ranks from :func:`equal_mass_ranks`.

    Returns:
        (K, S) edges, float64; one beyond all numbers where there is no cut.
    """
    left = ordered.gather(1, ranks - 1).double()
    right = ordered.gather(1, ranks.clamp_max(ordered.shape[1] - 1)).double()
    return torch.where(ranks < ordered.shape[1], left / 2 + right / 2, BEYOND)


def step(
    edges: Float[Tensor, "K S"], levels: Float[Tensor, "K L"], log_odds: Float[Tensor, "N K"]
) -> Float[Tensor, "N K"]:
    """Return the level of the bin ``(edge, next edge]`` that each score lies in.

    Args:
        edges: (K, S) ascending edges between the bins.
        levels: (K, S+1) levels of the bins.
        log_odds: (N, K) log-odds.

    Returns:
        (N, K) levels, float64.
    """
    parts = []
    for run in _narrow_runs(len(edges)):
        scores = single_scores(log_odds[:, run]).double().T.contiguous()
        parts.append(levels[run].gather(1, torch.searchsorted(edges[run], scores)).T)
    return torch.cat(parts, dim=1)


def interpolated(
    knots: Float[Tensor, "K M"], values: Float[Tensor, "K M"], log_odds: Float[Tensor, "N K"]
) -> Float[Tensor, "N K"]:
    """Return values on straight lines between knots, and those of the outer knots beyond them.

    Args:
        knots: (K, M) ascending log-odds, at least two; repeated ones at the end carry equal values.
        values: (K, M) values at the knots.
        log_odds: (N, K) log-odds.

    Returns:
        (N, K) values, float64, exact at the knots.
    """
    parts = []
    for run in _narrow_runs(len(knots)):
        bends, heights = knots[run], values[run]
        scores = single_scores(log_odds[:, run]).double().T.contiguous()
        high = torch.searchsorted(bends, scores.detach()).clamp(1, bends.shape[1] - 1)
        left, right = bends.gather(1, high - 1), bends.gather(1, high)
        way = ((scores - left) / (right - left).clamp_min(TINY)).clamp(0, 1)
        parts.append(torch.lerp(heights.gather(1, high - 1), heights.gather(1, high), way).T)
    return torch.cat(parts, dim=1)


def _narrow_runs(columns: int) -> list[slice]:
    """Cut the columns into runs whose look-ups leave small temporaries, whatever the number of rows."""
    return [slice(start, start + _COLUMNS) for start in range(0, columns, _COLUMNS)]


def padded(rows: list[Float[Tensor, " _"]], *, at_least: int = 1) -> Float[Tensor, "K M"]:
    """Return rows of unequal length as a matrix, each repeating its last value to the end.

    Args:
        rows: K vectors of one value or more.
        at_least: smallest number of columns.

    Returns:
        (K, M) matrix.
    """
    width = max(at_least, *(len(row) for row in rows))
    return torch.stack([torch.cat([row, row[-1:].expand(width - len(row))]) for row in rows])


def uniform_share(laplace: float, samples: float) -> float:
    """Return the share ``c/(n + 1)`` of the uniform distribution, at most one.

    Args:
        laplace: the count c.
        samples: the number n of samples, or the sum of their weights.

    Returns:
        A share in [0, 1].
    """
    return min(laplace / (samples + 1), 1.0)


def with_uniform(log_probs: Float[Tensor, "N C"], share: float) -> Float[Tensor, "N C"]:
    """Return ``ln((1 - share)·p + share/C)``, to the last digit also of probabilities that underflow.

    Args:
        log_probs: (N, C) log-probabilities.
        share: of the uniform distribution.

    Returns:
        (N, C) log-probabilities.
    """
    if share == 0:
        return log_probs
    rest = math.log1p(-share) if share < 1 else -math.inf  # weights that sum to nothing leave the uniform alone
    floor = torch.full_like(log_probs, math.log(share) - math.log(log_probs.shape[1]))
    return torch.logaddexp(log_probs + rest, floor)


def check_laplace(laplace: float) -> None:
    """Refuse a count of mixed-in samples that is none.

    Args:
        laplace: the count.

    Raises:
        ValueError: if it is negative or not finite.
    """
    if not (math.isfinite(laplace) and laplace >= 0):
        raise ValueError(f"laplace must be finite and at least 0, got {laplace}; 0 leaves zeros as they are")


def check_count(name: str, count: int, least: int) -> None:
    """Refuse a number of bins, knots or the like that is too small.

    Args:
        name: of the option.
        count: its value.
        least: the smallest that is possible.

    Raises:
        ValueError: if the count is smaller.
    """
    if count < least:
        raise ValueError(f"{name} must be at least {least}, got {count}")
