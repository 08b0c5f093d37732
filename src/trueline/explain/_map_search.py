"""The part that all attacks on maps share: the cube they may use, what they have found, and how that is judged."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import (
    Explainer,
    check_labels,
    check_predictions,
    check_samples,
    left_as_found,
    run_logits,
)
from trueline.explain._attribute import name_of, predicted
from trueline.explain._map_objectives import MapObjective
from trueline.explain._map_pairs import magnitude

Bounds = tuple[float, float]


@contextmanager
def questioning(*models: nn.Module) -> Iterator[None]:
    """Ask models for maps and leave them as found, in whatever context the caller is.

    Args:
        *models: in evaluation mode meanwhile.

    Yields:
        Nothing.
    """
    with ExitStack() as stack:
        for context in (torch.inference_mode(mode=False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH)):
            stack.enter_context(context)
        for model in models:
            stack.enter_context(left_as_found(model))
        yield


class Cube:
    """The points whose entries are all within a radius of the sample's and within bounds, to the last bit.

    Args:
        inputs: (B, ...) the samples.
        radius: largest change of an entry; infinite for any.
        bounds: lowest and highest value of an entry, or None.
    """

    def __init__(self, inputs: Float[Tensor, "B *shape"], radius: float, bounds: Bounds | None) -> None:
        low, high = bounds or (-torch.inf, torch.inf)
        self.low = _inward(inputs, -radius).clamp_min(low)
        self.high = _inward(inputs, radius).clamp_max(high)

    def project(self, points: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
        """Clip every entry."""
        return points.clamp(self.low, self.high)


def _inward(inputs: Tensor, reach: float) -> Tensor:
    """Return ``inputs + reach``, one number nearer to the inputs where rounding takes it too far."""
    found = (inputs.double() + reach).to(inputs.dtype)
    beyond = (found.double() - inputs.double()).abs() > abs(reach)
    return torch.where(beyond, torch.nextafter(found, inputs), found)


class MapSearch:
    """The worst point so far of each sample of a chunk, among those at which the model still predicts its class.

    What ends in ``_here`` or takes points is about the attacked samples alone.

    Args:
        model: what is attacked, whose own maps judge every point.
        explainer: makes the maps.
        objective: what counts as worse.
        inputs: (B, ...) the samples.
        labels: (B,) a sample whose label is not predicted is not attacked; None attacks all.
        wanted: (B, ...) maps that the objective compares with, in the place of the clean ones.
    """

    def __init__(
        self,
        model: nn.Module,
        explainer: Explainer,
        objective: MapObjective,
        inputs: Float[Tensor, "B *shape"],
        labels: Int64[Tensor, " B"] | None,
        wanted: Float[Tensor, "B *map"] | None = None,
    ) -> None:
        self.model, self.explainer, self.objective = model, explainer, objective
        with torch.no_grad():
            logits = run_logits(model, inputs)
        self.target = predicted(logits)
        self.attacked = torch.ones_like(self.target, dtype=torch.bool)
        if labels is not None:
            check_labels(labels.to(logits.device), *check_predictions(logits=logits).shape)
            self.attacked = self.target == labels.to(logits.device)
        self.rows = self.attacked.nonzero().squeeze(1)
        self.points = inputs.clone()
        self.clean_maps = explainer.maps(model, inputs.clone(), self.target).detach()
        self.maps = self.clean_maps.clone()
        self.success = torch.zeros_like(self.attacked)
        self.rejected, self.flat = torch.zeros_like(self.target), torch.zeros_like(self.target)
        self.inputs_here, self.target_here = inputs[self.rows], self.target[self.rows]
        clean = magnitude(self.clean_maps[self.rows])
        self.reference_here = clean if wanted is None else magnitude(wanted[self.rows])
        if self.reference_here.shape != clean.shape:
            raise ValueError(
                f"wanted must be maps of the shape that the explainer makes, {tuple(self.clean_maps.shape)}, got "
                f"sizes {tuple(self.reference_here.shape[1:])} instead of {tuple(clean.shape[1:])}"
            )
        self.kept_here = objective.kept(clean, self.reference_here)

    def judge(self, points: Float[Tensor, "R *shape"]) -> None:
        """Take each point that is worse than what was found before and keeps the class."""
        points = points.detach()
        maps = self.explainer.maps(self.model, points, self.target_here).detach()
        with torch.no_grad():
            same = predicted(run_logits(self.model, points)) == self.target_here
            kept = self.objective.kept(magnitude(maps), self.reference_here)
        worse = same & (kept < self.kept_here)
        self.kept_here = torch.where(worse, kept, self.kept_here)
        self.rejected[self.rows] += (~same).long()
        moved = self.rows[worse]
        self.success[moved] = True
        self.points[moved], self.maps[moved] = points[worse], maps[worse]

    def found(self) -> dict[str, Tensor]:
        """Return what an :class:`AttributionAttack` holds of each sample."""
        names = ("points", "clean_maps", "maps", "target", "attacked", "success", "rejected", "flat")
        return {name: getattr(self, name) for name in names}


def descent(search: MapSearch, guide: nn.Module, points: Float[Tensor, "R *shape"]) -> Float[Tensor, "R *shape"]:
    """Return the gradient of the objective's loss on a guide's maps; zero where they do not depend on the input.

    Args:
        search: whose attacked samples, explainer and objective these are.
        guide: the network that is followed.
        points: (R, ...) where.
    """
    moving = points.detach().requires_grad_()
    maps = search.explainer.maps(guide, moving, search.target_here, create_graph=True)
    loss = search.objective.loss(magnitude(maps), search.reference_here).sum()
    if not loss.requires_grad:
        return torch.zeros_like(points)
    (slope,) = torch.autograd.grad(loss, moving, allow_unused=True)
    return torch.zeros_like(points) if slope is None else slope


def signs(count: int, like: Float[Tensor, "B *shape"], generator: torch.Generator) -> Float[Tensor, "count *shape"]:
    """Return random signs of one sample, drawn once for all, so that none depends on its place among the others.

    Args:
        count: how many draws.
        like: (B, ...) samples.
        generator: draws.
    """
    drawn = torch.randint(0, 2, (count, *like.shape[1:]), generator=generator, device=generator.device)
    return (2 * drawn - 1).to(like)


def check_attack(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"] | None,
    radius: float,
    bounds: Bounds | None,
    chunk_size: int | None,
    **counts: int,
) -> None:
    """Refuse what no attack on maps can work with.

    Args:
        model: what is attacked.
        inputs: (N, ...) samples.
        labels: (N,) or None.
        radius: at least 0.
        bounds: lowest and highest value of an entry, or None.
        chunk_size: at least 1 if given.
        **counts: each at least 1.

    Raises:
        ValueError: if something is out of range.
        TypeError: if a dtype is wrong, or the model is not a module.
    """
    check_samples(model, inputs, labels, chunk_size)
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    if not radius >= 0:
        raise ValueError(f"radius must be at least 0, in units of the inputs, got {radius}")
    if bounds is None:
        return
    low, high = bounds
    if not low < high:
        raise ValueError(f"bounds must be the lowest and the highest value of an entry, got {bounds}")
    if inputs.amin() < low or inputs.amax() > high:
        raise ValueError(
            f"inputs must lie within bounds [{low:g}, {high:g}], got values from {inputs.amin():g} to "
            f"{inputs.amax():g}; pass the bounds of your inputs, or bounds=None"
        )


def check_differentiable(explainer: Explainer) -> None:
    """Refuse a black box.

    Args:
        explainer: must make maps that can be differentiated.

    Raises:
        ValueError: if it does not.
    """
    if not explainer.differentiable:
        raise ValueError(
            f"the maps of {name_of(explainer)} carry no gradient that an attack could follow; attack it as a black box "
            "with random_signs, or take an explainer that is differentiable, such as Gradient()"
        )
