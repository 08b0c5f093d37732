"""The step and the radius of a search, chosen on a small grid, by Gemou et al. (2026)."""

import itertools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import method
from trueline.counterfactual._counterfactuals import Counterfactuals
from trueline.counterfactual._published_probe import published_probe_later
from trueline.counterfactual._search_trials import SearchTrials, trials_of
from trueline.counterfactual._source import GEMOU_2026
from trueline.counterfactual._support import Support


@method(GEMOU_2026, cost="one search for each pair of multipliers")
def tune_grid(
    head: nn.Module,
    z: Float[Tensor, "N *shape"],
    support: Support,
    target: Int64[Tensor, " N"] | None = None,
    *,
    step: float = 0.01,
    radius: float = 1.0,
    multipliers: Sequence[float] = (0.5, 1.0, 2.0),
    search: Callable[..., Counterfactuals] = published_probe_later,
    exclude: Int64[Tensor, " N"] | None = None,
    chunk_size: int | None = None,
) -> SearchTrials:
    """Return the step and the radius with the most successes, and of those the nearest.

    Every pair of ``step`` and ``radius`` times one of the multipliers is tried; the objective is the failure rate, and
    between equals the mean distance of the flips decides. It is the tuning of the later published revision, which gives
    each search the same small number of trials.

    Args:
        head: as in :func:`find_counterfactuals`.
        z: (N, ...) validation embeddings, not those that the search will be judged on.
        support: where data are.
        target: (N,) classes other than the predicted ones; None for the runners-up.
        step: middle of the grid, in the units of the search, above 0.
        radius: likewise.
        multipliers: of both, each above 0.
        search: :func:`published_probe_later`, :func:`find_counterfactuals`, or one of them with further options fixed
            by :func:`functools.partial`.
        exclude: (N,) row of the reference set that an example is itself, -1 for none; or None.
        chunk_size: examples at once, None for all.

    Returns:
        All trials; ``best`` holds the settings to pass on.

    Raises:
        ValueError: if an argument is out of range, or as the search.
        TypeError: as the search.

    Example:
        >>> from trueline.counterfactual import LocalSupport
        >>> support = LocalSupport(torch.randn(60, 2), torch.arange(60) % 3, k=5)
        >>> tuned = tune_grid(nn.Linear(2, 3), torch.randn(4, 2), support, multipliers=(1.0, 2.0))
        >>> len(tuned.objective)
        4
    """
    if not multipliers or min(multipliers) <= 0:
        raise ValueError(f"multipliers must be some numbers above 0, got {tuple(multipliers)}")
    tried = [{"step": step * a, "radius": radius * b} for a, b in itertools.product(multipliers, multipliers)]
    results = [
        search(head, z, support, target, **settings, exclude=exclude, chunk_size=chunk_size) for settings in tried
    ]
    failures = torch.tensor([1 - r.success_rate.value for r in results], dtype=torch.float64)
    far = [float("inf") if r.mean_distance is None else r.mean_distance.value for r in results]
    return trials_of(tried, results, failures, ties=torch.tensor(far, dtype=torch.float64))
