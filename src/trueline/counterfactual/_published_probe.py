"""The local-search probe of Gemou et al. (2026), as the two revisions of their code define it."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from trueline.contracts import method
from trueline.counterfactual._class_pair import ClassPair
from trueline.counterfactual._counterfactuals import Counterfactuals, counterfactuals_of
from trueline.counterfactual._local_curvature import curvature_in
from trueline.counterfactual._pool import Pool
from trueline.counterfactual._search import Move, Place, Walk, flips_to_target, search
from trueline.counterfactual._source import GEMOU_2026
from trueline.counterfactual._support import Support

_EPSILON = 1e-8  # added to the typical curvature
_NEIGHBOURS, _TANGENT = 20, 2  # of the local curvature


@method(GEMOU_2026, cost="as find_counterfactuals; 500 steps for an example that does not flip")
def published_probe_first(
    head: nn.Module,
    z: Float[Tensor, "N *shape"],
    support: Support,
    target: Int64[Tensor, " N"] | None = None,
    *,
    step: float = 0.01,
    radius: float = 1.0,
    steps: int = 500,
    distance_weight: float = 0.0,
    support_weight: float = 0.0,
    exclude: Int64[Tensor, " N"] | None = None,
    chunk_size: int | None = None,
) -> Counterfactuals:
    """Return where the probe of the first published revision ends: success is any prediction but the first one.

    Gradient descent on ``-h_t(z) + λ_s·‖z - z₀‖ + λ_k·d²`` with d² the mean of the k smallest squared distances to
    reference examples of class t, back into the ball of the given radius after each step, until the prediction is not a
    any more. Step and radius are absolute: a head whose logits are ten times as large is another problem to it.

    The authors averaged distance and effort over all examples in this revision: ``record.distance.mean()`` is theirs,
    ``record.mean_distance`` is over the successes. A flip to a third class is a success here, and it is judged by the
    data of the target all the same.

    Args:
        head: as in :func:`find_counterfactuals`.
        z: (N, ...) embeddings.
        support: says which k examples count, and what is supported; the authors' is a :class:`LocalSupport` with k=20.
        target: (N,) classes other than the predicted ones; None for the runners-up, as published.
        step: of the gradient descent, in units of the embedding squared / unit of the logits, above 0.
        radius: of the ball in units of the embedding, above 0.
        steps: most steps.
        distance_weight: λ_s, at least 0.
        support_weight: λ_k, at least 0.
        exclude: (N,) row of the reference set that an example is itself, -1 for none; or None.
        chunk_size: examples at once, None for all; it changes the memory, not the answer.

    Returns:
        The record of all examples; the last point of a search is its end.

    Raises:
        ValueError: as :func:`find_counterfactuals`.
        TypeError: as there.

    Example:
        >>> from trueline.counterfactual import LocalSupport
        >>> support = LocalSupport(torch.randn(60, 2), torch.arange(60) % 3, k=5)
        >>> published_probe_first(nn.Linear(2, 3), torch.zeros(1, 2), support).method
        'published_probe_first'
    """
    _check(step, distance_weight, support_weight)
    support.check_shape(z)
    move = _descent(support, step, distance_weight, support_weight)
    walk = Walk(_target_logit, move, _leaves, radius=radius, steps=steps, patient=True)
    found = search(head, z, target, exclude, walk, chunk_size)
    options = {
        "step": step,
        "radius": radius,
        "steps": steps,
        "distance_weight": distance_weight,
        "support_weight": support_weight,
    }
    return counterfactuals_of(
        found, head, z, support, exclude, chunk_size=chunk_size, method="published_probe_first", options=options
    )


@method(
    GEMOU_2026,
    cost="as find_counterfactuals; 300 steps for an example that does not flip; with a curvature weight an SVD of "
    "(20, D) a step",
)
def published_probe_later(
    head: nn.Module,
    z: Float[Tensor, "N *shape"],
    support: Support,
    target: Int64[Tensor, " N"] | None = None,
    *,
    step: float = 0.01,
    radius: float = 1.0,
    steps: int = 300,
    distance_weight: float = 0.0,
    support_weight: float = 0.0,
    curvature_weight: float = 0.0,
    exclude: Int64[Tensor, " N"] | None = None,
    chunk_size: int | None = None,
) -> Counterfactuals:
    """Return where the probe of the later published revision ends: success is the prediction of the target.

    As :func:`published_probe_first`, but until class t is predicted, with fewer steps, and with steps that are shorter
    where the data bend: ``step / (1 + α·κ(z) / (κ̃ + 1e-8))`` with the :func:`local_curvature` κ of 20 neighbours among
    all reference examples, and κ̃ its median over the reference examples, each without itself.

    Args:
        head: as in :func:`find_counterfactuals`.
        z: (N, ...) embeddings.
        support: says which k examples count, and what is supported; the authors' is a :class:`LocalSupport` with k=20.
        target: (N,) classes other than the predicted ones; None for the runners-up, as published.
        step: of the gradient descent, in units of the embedding squared / unit of the logits, above 0.
        radius: of the ball in units of the embedding, above 0.
        steps: most steps.
        distance_weight: λ_s, at least 0.
        support_weight: λ_k, at least 0.
        curvature_weight: α, at least 0; above 0 it needs more than 20 reference examples.
        exclude: (N,) row of the reference set that an example is itself, -1 for none; or None.
        chunk_size: examples at once, None for all; it changes the memory, not the answer.

    Returns:
        The record of all examples; the last point of a search is its end.

    Raises:
        ValueError: as :func:`find_counterfactuals`.
        TypeError: as there.

    Example:
        >>> from trueline.counterfactual import LocalSupport
        >>> support = LocalSupport(torch.randn(60, 2), torch.arange(60) % 3, k=5)
        >>> found = published_probe_later(nn.Linear(2, 3), torch.zeros(1, 2), support, support_weight=1.0)
        >>> found.options["steps"]
        300
    """
    _check(step, distance_weight, support_weight)
    if not 0 <= curvature_weight < float("inf"):
        raise ValueError(f"curvature_weight must be at least 0 and finite, got {curvature_weight}")
    support.check_shape(z)
    move = _descent(support, step, distance_weight, support_weight)
    if curvature_weight:
        move = _slower_where_bent(move, support, curvature_weight)
    walk = Walk(_target_logit, move, flips_to_target, radius=radius, steps=steps, patient=True)
    found = search(head, z, target, exclude, walk, chunk_size)
    options = {
        "step": step,
        "radius": radius,
        "steps": steps,
        "distance_weight": distance_weight,
        "support_weight": support_weight,
        "curvature_weight": curvature_weight,
    }
    return counterfactuals_of(
        found, head, z, support, exclude, chunk_size=chunk_size, method="published_probe_later", options=options
    )


def _target_logit(logits: Float[Tensor, "B C"], pair: ClassPair) -> Float[Tensor, " B"]:
    return logits.gather(1, pair.target[:, None]).squeeze(1)


def _leaves(logits: Float[Tensor, "B C"], pair: ClassPair) -> Bool[Tensor, " B"]:
    return logits.argmax(dim=1) != pair.predicted


def _descent(support: Support, step: float, distance_weight: float, support_weight: float) -> Move:
    def move(place: Place, gradient: Tensor) -> Tensor:
        way = gradient
        if distance_weight:
            offset = place.z - place.start
            length = offset.norm(dim=1, keepdim=True)
            way = way - distance_weight * offset / length.where(length > 0, 1)
        if support_weight:
            pull = support.pull(place.z, place.pair.target, exclude=place.exclude).to(way.device)
            way = way + 2 * support_weight * pull
        return step * way

    return move


def _slower_where_bent(plain: Move, support: Support, weight: float) -> Move:
    rows = torch.arange(len(support.flat), device=support.flat.device)
    if len(rows) <= _NEIGHBOURS:
        raise ValueError(f"a curvature needs more than {_NEIGHBOURS} reference examples, got {len(rows)}")
    pool = Pool.of(support.flat, rows)
    typical = curvature_in(pool, support.flat, _NEIGHBOURS, _TANGENT, rows).median().item() + _EPSILON

    def move(place: Place, gradient: Tensor) -> Tensor:
        bend = curvature_in(pool, place.z.to(support.flat), _NEIGHBOURS, _TANGENT, place.exclude)
        return plain(place, gradient) / (1 + weight * bend / typical).to(gradient.device)[:, None]

    return move


def _check(step: float, distance_weight: float, support_weight: float) -> None:
    if not step > 0:
        raise ValueError(f"step must be above 0, got {step}")
    for name, weight in (("distance_weight", distance_weight), ("support_weight", support_weight)):
        if not 0 <= weight < float("inf"):
            raise ValueError(f"{name} must be at least 0 and finite, got {weight}")
