"""Sets of answers that are drawn one by one: which are kept, how a set scores, and which limits are worth trying."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_SMALLEST = 1e-8  # of 1 - q in the geometric score, as published

STOPPING = ("first", "max", "sum", "geometric")


def set_scores(values: Float[Tensor, "N K"], kept: Bool[Tensor, "P N K"], stopping: str) -> Float[Tensor, "P N K"]:
    """Return the score of the set of kept answers after each draw.

    Args:
        values: (N, K) qualities of the answers, in the order of sampling.
        kept: (P, N, K) which of them are kept, for P settings.
        stopping: one of :data:`STOPPING`.

    Returns:
        (P, N, K) scores; an answer that is left out adds nothing, whatever the sign of its quality.
    """
    if stopping == "first":
        return torch.arange(1.0, values.shape[1] + 1, dtype=torch.float64, device=values.device).expand(kept.shape)
    if stopping == "max":
        return torch.where(kept, values, -torch.inf).cummax(dim=2).values
    terms = values if stopping == "sum" else -(1 - values).clamp_min(_SMALLEST).log()
    return torch.where(kept, terms, 0.0).cumsum(dim=2)


def kept_answers(
    values: Float[Tensor, "N K"], alike: Float[Tensor, "N K K"] | None, pairs: Float[Tensor, "P 2"]
) -> Bool[Tensor, "P N K"]:
    """Return which answers are good enough and not too similar to one that was kept before.

    Args:
        values: (N, K) qualities.
        alike: (N, K, K) similarities, symmetric; None if answers are not compared.
        pairs: (P, 2) limits of the similarity, above which an answer is left out, and of the quality, below which.

    Returns:
        (P, N, K) True for the kept.
    """
    good = values[None] >= pairs[:, 1, None, None]
    if alike is None:
        return good
    kept = good.clone()
    for k in range(1, values.shape[1]):
        nearest = torch.where(kept[:, :, :k], alike[None, :, k, :k], -torch.inf).amax(dim=2)
        kept[:, :, k] &= nearest <= pairs[:, 0, None]
    return kept


def grid_pairs(values: Float[Tensor, "N K"], alike: Float[Tensor, "N K K"] | None, grid: int) -> Float[Tensor, "P 2"]:
    """Return the pairs of limits to try: quantiles of both, and those that leave nothing out.

    Args:
        values: (N, K) qualities.
        alike: (N, K, K) similarities, or None.
        grid: number of quantiles.

    Returns:
        (P, 2) limits of the similarity and of the quality.
    """
    quality = torch.cat([values.new_full((1,), -torch.inf), quantiles(values, grid)])
    nearness = values.new_full((1,), torch.inf)
    if alike is not None and values.shape[1] > 1:
        places = torch.ones(values.shape[1], values.shape[1], dtype=torch.bool, device=values.device).tril(-1)
        nearness = torch.cat([nearness, quantiles(alike[:, places], grid)])
    return torch.cartesian_prod(nearness, quality)


def quantiles(values: Float[Tensor, "..."], grid: int) -> Float[Tensor, " G"]:
    """Return distinct values at evenly spaced ranks, the smallest and the largest among them.

    Args:
        values: any number of them.
        grid: how many to return at most.

    Returns:
        (G,) values in ascending order.
    """
    ordered = values.flatten().sort().values
    places = torch.linspace(0, len(ordered) - 1, grid, dtype=torch.float64).round().long()
    distinct: Tensor = torch.unique(ordered[places.to(ordered.device)])
    return distinct
