"""What the data and their curvature add to a search, at equal budget, by Gemou et al. (2026)."""

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import method
from trueline.counterfactual._counterfactuals import Counterfactuals
from trueline.counterfactual._published_probe import published_probe_later
from trueline.counterfactual._source import GEMOU_2026
from trueline.counterfactual._support import Support


@method(GEMOU_2026, cost="four runs of published_probe_later")
def matched_variants(
    head: nn.Module,
    z: Float[Tensor, "N *shape"],
    support: Support,
    target: Int64[Tensor, " N"] | None = None,
    *,
    step: float = 0.01,
    radius: float = 1.0,
    steps: int = 300,
    support_weight: float = 1.0,
    curvature_weight: float = 1.0,
    exclude: Int64[Tensor, " N"] | None = None,
    chunk_size: int | None = None,
) -> dict[str, Counterfactuals]:
    """Return four searches that differ in nothing but what they know of the data.

    ``"baseline"`` knows nothing, ``"support"`` is drawn to the data of the target class, ``"curvature"`` takes shorter
    steps where the data bend, and ``"both"`` does both; all are :func:`published_probe_later` with the same step,
    radius and number of steps.

    Args:
        head: as in :func:`find_counterfactuals`.
        z: (N, ...) embeddings.
        support: where data are.
        target: (N,) classes other than the predicted ones; None for the runners-up.
        step: as in :func:`published_probe_later`.
        radius: as there.
        steps: as there.
        support_weight: λ_k where the data draw, above 0.
        curvature_weight: α where the curvature counts, above 0.
        exclude: (N,) row of the reference set that an example is itself, -1 for none; or None.
        chunk_size: examples at once, None for all.

    Returns:
        The four records by name.

    Raises:
        ValueError: if a weight is not above 0, or as :func:`find_counterfactuals`.
        TypeError: as there.

    Example:
        >>> import torch
        >>> from trueline.counterfactual import LocalSupport
        >>> support = LocalSupport(torch.randn(60, 2), torch.arange(60) % 3, k=5)
        >>> list(matched_variants(nn.Linear(2, 3), torch.zeros(1, 2), support, steps=5))
        ['baseline', 'support', 'curvature', 'both']
    """
    if not (support_weight > 0 and curvature_weight > 0):
        raise ValueError(
            f"both weights must be above 0, got support_weight={support_weight}, curvature_weight={curvature_weight}; "
            "with 0 two variants are the same"
        )
    weights = {
        "baseline": (0.0, 0.0),
        "support": (support_weight, 0.0),
        "curvature": (0.0, curvature_weight),
        "both": (support_weight, curvature_weight),
    }
    return {
        name: published_probe_later(
            head,
            z,
            support,
            target,
            step=step,
            radius=radius,
            steps=steps,
            support_weight=drawn,
            curvature_weight=slowed,
            exclude=exclude,
            chunk_size=chunk_size,
        )
        for name, (drawn, slowed) in weights.items()
    }
