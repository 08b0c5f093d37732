"""The attack that gives a sample the map of another, by Dombrowski et al. (2019)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn

from trueline.contracts import (
    Record,
    Reference,
    check_samples,
    chunks,
    distribution_chart,
    method,
    run_logits,
)
from trueline.explain._attribute import name_of
from trueline.explain._attribution_attack import gathered
from trueline.explain._foreign import as_explainer
from trueline.explain._gradient import Gradient
from trueline.explain._map_objectives import MapObjective
from trueline.explain._map_pairs import magnitude, undefined_where
from trueline.explain._map_search import Bounds, Cube, MapSearch, check_attack, check_differentiable, questioning
from trueline.explain._rank_correlation import rank_correlation
from trueline.explain._surrogates import surrogates_of
from trueline.numerics import Interval
from trueline.steer import set_beta, steer

_TINY = 1e-30


@dataclass(frozen=True, eq=False)
class TargetedAttack(Record):
    """How near maps came to those that were wanted; the first axis of an array is the sample.

    Args:
        left: (N,) mean squared distance from the wanted map, both of sum one, over that of the clean map; 1 where
            nothing was gained, NaN where the sample was skipped.
        rank_correlation: (N,) Spearman's with the wanted map, after the attack; NaN where skipped or a map is constant.
        clean_rank_correlation: (N,) the same before it.
        attacked: (N,) whether the sample was attacked: its label was predicted, or none was given.
        success: (N,) whether a point was found whose map is nearer and which keeps the predicted class.
        rejected: (N,) points that did not count, since the model predicted another class there.
        change: (N,) largest change of an entry of the sample.
        points: (N, ...) the points; the sample itself where there was no success.
        clean_maps: (N, ...) the model's maps of the samples.
        maps: (N, ...) its maps of the points.
        target: (N,) the predicted class, which the maps explain.
        mean: mean of ``left`` over attacked samples and its 95 % Student interval; None if there is none.
        steps: points tried for each sample.
        explainer: the method with its settings, as text.
    """

    left: Float[Tensor, " N"]
    rank_correlation: Float[Tensor, " N"]
    clean_rank_correlation: Float[Tensor, " N"]
    attacked: Bool[Tensor, " N"]
    success: Bool[Tensor, " N"]
    rejected: Int64[Tensor, " N"]
    change: Float[Tensor, " N"]
    points: Float[Tensor, "N *shape"]
    clean_maps: Float[Tensor, "N *map"]
    maps: Float[Tensor, "N *map"]
    target: Int64[Tensor, " N"]
    mean: Interval | None
    steps: int
    explainer: str

    units: ClassVar[Mapping[str, str]] = {
        "left": "1",
        "rank_correlation": "1",
        "clean_rank_correlation": "1",
        "change": "unit of the input",
        "points": "unit of the input",
        "clean_maps": "the method's",
        "maps": "the method's",
        "mean": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        samples, tried = len(self.attacked), int(self.attacked.sum())
        if self.mean is None:
            return f"none of {samples} samples was attacked: the model predicts another class than the label for all"
        lines = [
            f"{self.explainer}: after {self.steps} steps {self.mean.value:.1%} of the squared distance from the wanted "
            f"map is left (95 % interval {self.mean.low:.1%} to {self.mean.high:.1%}, {tried} samples); the prediction "
            "stays",
            f"entries change by at most {self.change[self.attacked].max():.4g}",
        ]
        before, after = (
            values[values.isfinite()].mean() for values in (self.clean_rank_correlation, self.rank_correlation)
        )
        lines.append(f"rank correlation with the wanted map {before:.3f} before and {after:.3f} after, on average")
        if samples > tried:
            lines.append(f"{samples - tried} skipped, since the model predicts another class than their label")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given part of the distance left.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.left,
            "share of the squared distance from the wanted map that is left",
            mean=None if self.mean is None else self.mean.value,
            purpose="TargetedAttack.plot()",
        )


@method(
    Reference(
        authors="Ann-Kathrin Dombrowski, Maximilian Alber, Christopher J. Anders, Marcel Ackermann, Klaus-Robert "
        "Müller, Pan Kessel",
        title="Explanations Can Be Manipulated and Geometry Is to Blame",
        venue="NeurIPS",
        year=2019,
        arxiv="1906.07983",
    ),
    cost="a step: maps differentiated once more, about five passes for a gradient, and the model's own maps and "
    "logits, about four; 1,500 steps by default",
)
def targeted_attack(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    wanted: Float[Tensor, "N *map"],
    labels: Int64[Tensor, " N"] | None = None,
    *,
    explainer: Any = None,
    surrogate: nn.Module | None = None,
    steps: int = 1500,
    learning_rate: float = 2e-4,
    map_weight: float = 1e11,
    logit_weight: float = 1e6,
    sharpness: tuple[float, float] = (10.0, 100.0),
    radius: float | None = None,
    bounds: Bounds | None = (0.0, 1.0),
    chunk_size: int | None = None,
) -> TargetedAttack:
    """Return inputs whose maps look like others that are wanted, while the logits stay as they are.

    Adam lowers ``γ₁·MSE(ê(x), ŵ) + γ₂·MSE(z(x), z(x_clean))``, where ê and ŵ are the sizes of the entries of the map
    and of the wanted map, each divided by its sum, and z are the logits; after each step entries are clipped. The steps
    follow a twin of the model that has softplus in the place of ReLU, ``log(1 + exp(s·x))/s``, whose sharpness s grows
    geometrically, since ReLU's map has no slope; a model without ReLU is followed itself. Of all points at which the
    model still predicts the same class, that is returned where the model's own map is the nearest.

    Only the ratio of the weights matters, since Adam knows no scale.

    Args:
        model: as for :func:`attack_attribution`.
        inputs: (N, ...) floating point, within the bounds.
        wanted: (N, ...) maps of the shape that the explainer makes, such as those of other samples; not all zero.
        labels: (N,) class numbers, int64; samples whose label is not predicted are skipped. None attacks all.
        explainer: as for :func:`attribute`, of a differentiable kind; None for :class:`Gradient`.
        surrogate: a network to follow instead.
        steps: of Adam, at least 1.
        learning_rate: of Adam, in units of the inputs, above 0.
        map_weight: γ₁, at least 0.
        logit_weight: γ₂, at least 0.
        sharpness: s at the first and at the last step, above 1.
        radius: largest change of an entry; None for any, as by the authors.
        bounds: lowest and highest value of an entry, or None.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, the explainer is a black box, logits are not finite, or a batch-norm
            layer has no running statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch...>
        >>> model, x = nn.Sequential(nn.Linear(8, 32), nn.Softplus(), nn.Linear(32, 3)), torch.rand(6, 8)
        >>> found = targeted_attack(model, x, torch.rand(6, 8), steps=100, learning_rate=0.01)
        >>> found.mean.value < 0.8
        True
    """
    check_attack(model, inputs, labels, torch.inf if radius is None else radius, bounds, chunk_size, steps=steps)
    _check(wanted, inputs, learning_rate, (map_weight, logit_weight), sharpness)
    maker = Gradient() if explainer is None else as_explainer(explainer, model)
    check_differentiable(maker)
    guide, grows = _guide(model, inputs, surrogate)
    schedule = _schedule(grows, sharpness, steps)
    parts = []
    with questioning(model, guide):
        for _, (rows, goal, truth) in chunks(chunk_size, inputs, wanted, labels):
            assert rows is not None
            assert goal is not None
            rows = rows.detach().clone()
            search = MapSearch(model, maker, Distance(), rows, truth, goal.detach().to(rows))
            if len(search.rows):
                cube = Cube(search.inputs_here, torch.inf if radius is None else radius, bounds)
                _descend(search, guide, cube, schedule, learning_rate, (map_weight, logit_weight))
            parts.append(
                search.found() | {"change": (search.points.double() - rows.double()).abs().flatten(1).amax(dim=1)}
            )
    return _record(gathered(parts), wanted.detach().double().cpu(), steps, name_of(maker))


@dataclass(frozen=True)
class Distance(MapObjective):
    """Mean squared distance from the reference, both divided by their sums."""

    def loss(self, sizes: Float[Tensor, "B *map"], reference: Float[Tensor, "B *map"]) -> Float[Tensor, " B"]:
        """Return the distance."""
        return (_shares(sizes) - _shares(reference)).square().mean(dim=1)

    def kept(self, sizes: Float[Tensor, "B *map"], reference: Float[Tensor, "B *map"]) -> Float[Tensor, " B"]:
        """Return the distance too."""
        return self.loss(sizes.double(), reference.double())


def _shares(sizes: Tensor) -> Tensor:
    rows = sizes.flatten(1)
    return rows / rows.sum(dim=1, keepdim=True).clamp(min=_TINY)


def _schedule(grows: bool, sharpness: tuple[float, float], steps: int) -> list[float | None]:
    """Return β of the guide's softplus at each step; its sharpness is 1/(1 - β)."""
    first, last = sharpness
    return [1 - 1 / (first * (last / first) ** (step / max(steps - 1, 1))) if grows else None for step in range(steps)]


def _guide(model: nn.Module, inputs: Tensor, given: nn.Module | None) -> tuple[nn.Module, bool]:
    """Return what is followed, and whether its sharpness grows."""
    if given is not None:
        check_samples(given, inputs)
        return given, False
    first, *twins = surrogates_of(model, inputs, None)
    if not twins and first is model:
        return model, False
    return steer(model, 0.9, mix=0.0, example=inputs[:2].detach()), True


def _descend(
    search: MapSearch,
    guide: nn.Module,
    cube: Cube,
    schedule: list[float | None],
    learning_rate: float,
    weights: tuple[float, float],
) -> None:
    points = search.inputs_here.clone().requires_grad_()
    optimizer = torch.optim.Adam([points], lr=learning_rate)
    for beta in schedule:
        if beta is not None:
            set_beta(guide, beta)
        with torch.no_grad():
            clean = run_logits(guide, search.inputs_here)
        maps = search.explainer.maps(guide, points, search.target_here, create_graph=True)
        change = (run_logits(guide, points) - clean).flatten(1).square().mean(dim=1)
        loss = weights[0] * search.objective.loss(magnitude(maps), search.reference_here) + weights[1] * change
        (points.grad,) = torch.autograd.grad(loss.sum(), points)
        optimizer.step()
        with torch.no_grad():
            points.copy_(cube.project(points))
        search.judge(points)


def _record(found: dict[str, Tensor], wanted: Tensor, steps: int, explainer: str) -> TargetedAttack:
    skipped = ~found["attacked"]
    goal, before, after = (magnitude(maps) for maps in (wanted, found["clean_maps"], found["maps"]))
    first = Distance().kept(before, goal)
    left = Distance().kept(after, goal) / torch.where(first > 0, first, 1)
    left = undefined_where(torch.where(first > 0, left, 1), skipped)
    return TargetedAttack(
        left=left,
        rank_correlation=undefined_where(rank_correlation(after, goal), skipped),
        clean_rank_correlation=undefined_where(rank_correlation(before, goal), skipped),
        mean=Interval.of_mean(left[~skipped]) if not skipped.all() else None,
        steps=steps,
        explainer=explainer,
        **{name: value for name, value in found.items() if name != "flat"},
    )


def _check(
    wanted: Shaped[Tensor, "..."],
    inputs: Tensor,
    learning_rate: float,
    weights: tuple[float, float],
    sharpness: tuple[float, float],
) -> None:
    if not wanted.is_floating_point():
        raise TypeError(f"wanted must be floating point, got {wanted.dtype}; convert with wanted.float()")
    if wanted.ndim < 2 or len(wanted) != len(inputs):
        raise ValueError(f"wanted must be one map for each of {len(inputs)} inputs, got shape {tuple(wanted.shape)}")
    rows = wanted.detach().flatten(1)
    if not (some := (rows.isfinite().all(dim=1) & rows.any(dim=1))).all():
        raise ValueError(f"wanted maps must be finite and not all zero, but map {int((~some).nonzero()[0])} is not")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be above 0, got {learning_rate}")
    if min(weights) < 0:
        raise ValueError(f"map_weight and logit_weight must be at least 0, got {weights[0]} and {weights[1]}")
    if min(sharpness) <= 1:
        raise ValueError(f"sharpness must be above 1 at the first and the last step, got {sharpness}")
