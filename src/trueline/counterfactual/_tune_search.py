"""The settings of a search, chosen at random on a logarithmic scale by what they lead to, by Gemou et al. (2026)."""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import default_generator, method
from trueline.counterfactual._counterfactuals import Counterfactuals
from trueline.counterfactual._geometry_scales import geometry_scales
from trueline.counterfactual._local_support import LocalSupport
from trueline.counterfactual._published_probe import published_probe_first
from trueline.counterfactual._search_trials import SearchTrials, measured, trials_of
from trueline.counterfactual._source import GEMOU_2026

Prior = Literal["geometry", "uninformed"]
_ALPHAS = {
    "step": (0.1, 1.0),
    "radius": (0.1, 10.0),
    "distance_weight": (0.1, 10.0),
    "support_weight": (0.1, 10.0),
}
_UNINFORMED = {
    "step": (1e-4, 1.0),
    "radius": (1e-2, 100.0),
    "distance_weight": (1e-3, 100.0),
    "support_weight": (1e-4, 100.0),
}


@method(GEMOU_2026, cost="one search a trial")
def tune_search(
    head: nn.Module,
    z: Float[Tensor, "N *shape"],
    support: LocalSupport,
    target: Int64[Tensor, " N"] | None = None,
    *,
    trials: int = 30,
    prior: Prior = "geometry",
    search: Callable[..., Counterfactuals] = published_probe_first,
    steps: int = 500,
    exclude: Int64[Tensor, " N"] | None = None,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> SearchTrials:
    """Return the best of random settings of a search, judged by failures, distance and support on validation data.

    The objective of a trial is ``5·(failure rate) + (mean distance)/d_s + (mean end radius)/d_s``, means over all
    examples, with the scales ``d_s`` and ``b_s`` of :func:`geometry_scales`. Where the prior is ``"geometry"``,
    ``step = α₁·d_s``, ``radius = α₂·b_s``, ``distance_weight = α₃/d_s`` and ``support_weight = α₄/d_s²``, with
    log-uniform α₁ in [0.1, 1] and the others in [0.1, 10]. Where it is ``"uninformed"``, the settings themselves are
    log-uniform: in [1e-4, 1], [0.01, 100], [0.001, 100] and [1e-4, 100].

    Args:
        head: as in :func:`find_counterfactuals`.
        z: (N, ...) validation embeddings, not those that the search will be judged on.
        support: where data are.
        target: (N,) classes other than the predicted ones; None for the runners-up.
        trials: number of settings, at least 1.
        prior: where settings are drawn from.
        search: :func:`published_probe_first`, as published, or :func:`published_probe_later`.
        steps: most steps of a search.
        exclude: (N,) row of the reference set that an example is itself, -1 for none; or None.
        chunk_size: examples at once, None for all.
        generator: draws the settings; None for one seeded with 0.

    Returns:
        All trials; ``best`` holds the settings to pass on.

    Raises:
        ValueError: if an argument is out of range, or as the search.
        TypeError: as the search.

    Example:
        >>> support = LocalSupport(torch.randn(60, 2), torch.arange(60) % 3, k=5)
        >>> tuned = tune_search(nn.Linear(2, 3), torch.randn(4, 2), support, trials=3, steps=5)
        >>> sorted(tuned.best)
        ['distance_weight', 'radius', 'step', 'support_weight']
    """
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}")
    if prior not in get_args(Prior):
        raise ValueError(f"prior must be 'geometry' or 'uninformed', got {prior!r}")
    near, far = geometry_scales(head, support, chunk_size=chunk_size)
    units = {"step": near, "radius": far, "distance_weight": 1 / near, "support_weight": 1 / near**2}
    generator = default_generator(generator)
    drawn = torch.rand(trials, len(units), dtype=torch.float64, generator=generator, device=generator.device).tolist()
    bounds = _ALPHAS if prior == "geometry" else _UNINFORMED
    tried = [
        {
            name: math.exp((1 - u) * math.log(low) + u * math.log(high)) * (units[name] if prior == "geometry" else 1.0)
            for u, (name, (low, high)) in zip(row, bounds.items(), strict=True)
        }
        for row in drawn
    ]
    results = [
        search(head, z, support, target, **settings, steps=steps, exclude=exclude, chunk_size=chunk_size)
        for settings in tried
    ]
    distance, end_radius = (torch.stack([measured(r)[i] for r in results]) for i in (0, 1))
    failures = torch.tensor([1 - r.success_rate.value for r in results], dtype=torch.float64)
    objective = 5 * failures + (distance + end_radius) / near
    return trials_of(tried, results, objective)
