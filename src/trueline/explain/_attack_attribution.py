"""Attacks that change the map of a sample and not its prediction, by Ghorbani, Abid and Zou (2019)."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import chunks, default_generator, method
from trueline.explain._attribute import name_of
from trueline.explain._attribution_attack import AttributionAttack, compared, gathered
from trueline.explain._foreign import as_explainer
from trueline.explain._fragile import FRAGILE
from trueline.explain._gradient import Gradient
from trueline.explain._map_objectives import MapObjective, TopK
from trueline.explain._map_search import (
    Bounds,
    Cube,
    MapSearch,
    check_attack,
    check_differentiable,
    descent,
    questioning,
    signs,
)
from trueline.explain._surrogates import surrogates_of


@method(
    FRAGILE,
    cost="a step for each surrogate: its maps differentiated once more, about five passes for a gradient, and the "
    "model's own maps and logits, about three",
)
def attack_attribution(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"] | None = None,
    *,
    radius: float,
    objective: MapObjective | None = None,
    explainer: Any = None,
    surrogates: Sequence[nn.Module] | None = None,
    steps: int = 30,
    step_size: float | None = None,
    bounds: Bounds | None = (0.0, 1.0),
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> AttributionAttack:
    """Return inputs moved within a radius so that their maps change the most while the prediction stays.

    ``x ← P(x - η·sign ∇_x ℓ(e(x), e(x_clean)))``, where ℓ is the objective's loss of the map e of the predicted class
    and P clips to the cube around the sample and to the bounds. Every point on the way counts at which the model still
    predicts the same class, judged by the model's own map; the worst is returned.

    The gradient of a ReLU network is constant between its folds, so that an attack has nothing to follow and its
    failure would say nothing. The steps therefore follow surrogates, one after the other from the sample on: by default
    twins of the model that have softplus in the place of ReLU, and the model itself where it bends. To compare models,
    give all of them the same surrogates, and each that bends itself too. Where a followed map has no slope at all, and
    at the start of :class:`MassCentre`, the step is one of random signs; they are the same for all samples.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found, as are the surrogates.
        inputs: (N, ...) floating point, within the bounds.
        labels: (N,) class numbers, int64; samples whose label is not predicted are skipped. None attacks all.
        radius: largest change of an entry, in units of the inputs, at least 0; 8 grey levels are 8/255.
        objective: :class:`TopK`, :class:`MassCentre` or your own :class:`MapObjective`; None for the largest tenth.
        explainer: as for :func:`attribute`, of a differentiable kind; None for :class:`Gradient`.
        surrogates: networks with the same inputs and classes whose maps are followed, or None for those above.
        steps: for each surrogate, at least 1.
        step_size: η, in units of the inputs, above 0; None for ``2.5·radius/steps``.
        bounds: lowest and highest value of an entry, or None.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        generator: draws random signs; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU. Points are within the radius and the bounds exactly, as
        differences in double precision tell.

    Raises:
        ValueError: if an argument is out of range, the explainer is a black box, logits are not finite, or a batch-norm
            layer has no running statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch...>
        >>> model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
        >>> found = attack_attribution(model, torch.rand(20, 8), radius=0.1, objective=TopK(3))
        >>> found.mean.value < 0.9, bool(((found.points >= 0) & (found.points <= 1)).all())
        (True, True)
        >>> attack_attribution(nn.Linear(8, 3), torch.rand(20, 8), radius=0.1).mean.value
        1.0
    """
    check_attack(model, inputs, labels, radius, bounds, chunk_size, steps=steps)
    if step_size is not None and not step_size > 0:
        raise ValueError(f"step_size must be above 0, got {step_size}; None chooses 2.5·radius/steps")
    maker = Gradient() if explainer is None else as_explainer(explainer, model)
    check_differentiable(maker)
    aim = TopK() if objective is None else objective
    guides = surrogates_of(model, inputs, surrogates)
    jolts = signs(steps, inputs, default_generator(generator))
    size = 2.5 * radius / steps if step_size is None else step_size
    parts = []
    with questioning(model, *guides):
        for _, (rows, truth) in chunks(chunk_size, inputs, labels):
            assert rows is not None
            rows = rows.detach().clone()
            search = MapSearch(model, maker, aim, rows, truth)
            if len(search.rows):
                _follow(search, guides, Cube(search.inputs_here, radius, bounds), jolts, size)
            parts.append(search.found())
    return compared(
        aim.k if isinstance(aim, TopK) else 0.1,
        gathered(parts),
        tried=steps * len(guides),
        radius=float(radius),
        objective=f"attack on {name_of(maker)} by {aim!r}",
    )


def _follow(search: MapSearch, guides: Sequence[nn.Module], cube: Cube, jolts: Tensor, size: float) -> None:
    for guide in guides:
        points = search.inputs_here
        for jolt in jolts:
            slope = descent(search, guide, points)
            flat = ~slope.flatten(1).any(dim=1)
            search.flat[search.rows] += flat.long()
            direction = torch.where(flat.view(-1, *[1] * (slope.ndim - 1)), jolt, slope.sign())
            points = cube.project(points - size * direction)
            search.judge(points)
