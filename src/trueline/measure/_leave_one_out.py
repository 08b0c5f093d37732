"""Kernel regression on the simplex, each sample left out of its own estimate, by Popordanoska et al. (2022)."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

CLAMP = 1e-7  # a probability enters the kernel no nearer to 0 or 1
_BLOCK = 1 << 22  # weights held at once
_CHOOSERS = 1000  # samples that the bandwidth is chosen on


def bandwidth_grid() -> list[float]:
    """Return the bandwidths to choose from: 15 from 1e-5 to 0.1, evenly in the logarithm, and 5 from 0.2 to 1."""
    fine = torch.logspace(-5, -1, 15, dtype=torch.float64).tolist()
    return [*fine, *torch.linspace(0.2, 1, 5, dtype=torch.float64).tolist()]


def on_simplex(scores: Float[Tensor, " N"]) -> Float[Tensor, "N 2"]:
    """Return the probability of an event and of its absence, at least ``CLAMP`` each.

    Args:
        scores: (N,) probabilities of the event.
    """
    event = scores.double().clamp(CLAMP, 1 - CLAMP)
    return torch.stack([event, 1 - event], dim=1)


def weight_rows(points: Float[Tensor, "N K"], bandwidth: float) -> Iterator[tuple[slice, Float[Tensor, "B N"]]]:
    """Give the weights of all samples in the estimate at each sample, for runs of rows.

    The weight of j at i is the density ``Dirichlet(p_i; p_j/h + 1)``, zero for j = i, divided by the sum of its row.
    For two classes that is the density ``Beta(p_i; p_j/h + 1, (1 - p_j)/h + 1)``.

    Args:
        points: (N, K) probabilities of at least ``CLAMP``, float64, of two samples or more.
        bandwidth: h, above zero.

    Yields:
        The rows, and their weights.
    """
    for rows, logs in _log_density(points, bandwidth):
        yield rows, logs.softmax(dim=1)


def choose_bandwidth(points: Float[Tensor, "N K"], grid: list[float]) -> float:
    """Return the bandwidth with the largest leave-one-out likelihood of the distinct points.

    Points that are equal count once: with ties, the likelihood has no bound as h goes to 0, and the smallest bandwidth
    would win for saturated predictions whatever the rest. Of more than 1,000 points, 1,000 evenly spaced by their
    largest coordinate are used.

    Args:
        points: (N, K) as for :func:`weight_rows`.
        grid: bandwidths to choose from, not empty.

    Returns:
        One of them; the largest if all points are equal.
    """
    points = torch.unique(points.detach(), dim=0)
    if len(points) == 1:
        return max(grid)
    if len(points) > _CHOOSERS:
        order = points.amax(dim=1).argsort(stable=True)
        points = points[order[torch.linspace(0, len(points) - 1, _CHOOSERS).round().long()]]
    # The best so far starts at minus infinity: likelihoods below 1 have negative logarithms.
    best, chosen = -torch.inf, max(grid)
    for bandwidth in grid:
        parts = [logs.logsumexp(dim=1) for _, logs in _log_density(points, bandwidth)]
        likelihood = torch.cat(parts).mean().item() - math.log(len(points) - 1)
        if likelihood > best:
            best, chosen = likelihood, bandwidth
    return chosen


def _log_density(points: Tensor, bandwidth: float) -> Iterator[tuple[slice, Tensor]]:
    scale = 1 / bandwidth
    constant = torch.lgamma(points.new_tensor(scale + points.shape[1])) - torch.lgamma(points * scale + 1).sum(dim=1)
    logs = points.log()
    step = max(1, _BLOCK // len(points))
    for start in range(0, len(points), step):
        rows = slice(start, min(start + step, len(points)))
        block = logs[rows] @ points.T * scale + constant
        own = torch.arange(rows.start, rows.stop, device=points.device)[:, None]
        yield rows, block.scatter(1, own, -torch.inf)
