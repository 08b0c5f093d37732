"""The control of an attack on maps: random signs of the same size, by Ghorbani, Abid and Zou (2019)."""

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
from trueline.explain._map_search import Bounds, Cube, MapSearch, check_attack, questioning, signs


@method(FRAGILE, cost="the model's maps and logits for each draw, about three passes for a gradient")
def random_signs(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"] | None = None,
    *,
    radius: float,
    objective: MapObjective | None = None,
    explainer: Any = None,
    draws: int = 30,
    bounds: Bounds | None = (0.0, 1.0),
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> AttributionAttack:
    """Return inputs all of whose entries are moved by the radius, up or down at random, and what becomes of their maps.

    The control that belongs beside :func:`attack_attribution`: what an equally large change does that knows nothing of
    the model. With as many draws as the attack tries points, a gap between the two is the attack's. Maps need not be
    differentiable.

    Args:
        model: as for :func:`attack_attribution`.
        inputs: (N, ...) floating point, within the bounds.
        labels: (N,) class numbers, int64; samples whose label is not predicted are skipped. None takes all.
        radius: change of every entry, in units of the inputs, less where the bounds are nearer; at least 0.
        objective: chooses the worst draw that keeps the prediction; None for the largest tenth of the entries.
        explainer: as for :func:`attribute`; None for :class:`Gradient`.
        draws: at least 1; the signs are the same for all samples.
        bounds: lowest and highest value of an entry, or None.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        generator: draws the signs; None for one seeded with 0.

    Returns:
        The record of all samples, as that of an attack.

    Raises:
        ValueError: as :func:`attack_attribution`.
        TypeError: as :func:`attack_attribution`.

    Example:
        >>> random_signs(nn.Linear(8, 3), torch.rand(20, 8), radius=0.1).mean.value
        1.0
    """
    check_attack(model, inputs, labels, radius, bounds, chunk_size, draws=draws)
    maker = Gradient() if explainer is None else as_explainer(explainer, model)
    aim = TopK() if objective is None else objective
    jolts = signs(draws, inputs, default_generator(generator))
    parts = []
    with questioning(model):
        for _, (rows, truth) in chunks(chunk_size, inputs, labels):
            assert rows is not None
            search = MapSearch(model, maker, aim, rows.detach().clone(), truth)
            if len(search.rows):
                cube = Cube(search.inputs_here, radius, bounds)
                for jolt in jolts:
                    search.judge(cube.project(search.inputs_here + radius * jolt))
            parts.append(search.found())
    return compared(
        aim.k if isinstance(aim, TopK) else 0.1,
        gathered(parts),
        tried=draws,
        radius=float(radius),
        objective=f"random signs on {name_of(maker)} by {aim!r}",
    )
