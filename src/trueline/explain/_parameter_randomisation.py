"""Whether maps depend on what the model has learned: its layers at random, by Adebayo et al. (2018)."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Record, Reference, default_generator, method
from trueline.explain._against_random import check_draws, curve_chart
from trueline.explain._attribute import attribute
from trueline.explain._rank_correlation import rank_correlation
from trueline.explain._removal_order import random_orders
from trueline.numerics import Interval


@dataclass(frozen=True, eq=False)
class ParameterRandomisation(Record):
    """How alike maps stay while a model's layers are randomised, the last first.

    Args:
        similarity: (N, L) Spearman's rank correlation between the map of the model and that after layers up to the l-th
            of ``layers`` are random; NaN where a map is constant, which orders nothing.
        control_similarity: (N, draws) between the map and itself with its entries in random orders, the same for all
            samples; zero in expectation, NaN where the map is constant.
        target: (N,) the class that is explained, fixed from the model as it was.
        means: mean of ``similarity`` after each layer, of those that are defined, and its 95 % interval; NaN where none
            is.
        layers: names of the layers in the order of randomisation.
        absolute: whether absolute values were compared.
        explainer: the method.
    """

    similarity: Float[Tensor, "N L"]
    control_similarity: Float[Tensor, "N draws"]
    target: Int64[Tensor, " N"]
    means: tuple[Interval, ...]
    layers: tuple[str, ...]
    absolute: bool
    explainer: str

    units: ClassVar[Mapping[str, str]] = {"similarity": "1", "control_similarity": "1", "means": "1"}

    def __str__(self) -> str:
        """Say what the numbers mean, in two or three lines."""
        first, last = self.means[0], self.means[-1]
        what = "absolute maps" if self.absolute else "maps"
        lines = [
            f"{self.explainer}, {len(self.similarity)} samples: rank correlation of {what} {first.value:.4g} once "
            f"{self.layers[0]!r} is random, {last.value:.4g} (95 % interval {last.low:.4g} to {last.high:.4g}) once "
            f"all {len(self.layers)} layers are",
            f"entries in random orders: {self.control_similarity.nanmean():.4g}; a map that stays alike does not tell "
            "what the model has learned",
        ]
        if undefined := int(self.similarity.isnan().any(dim=1).sum()):
            lines.append(f"{undefined} samples with a constant map, left out where it is")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the mean similarity after each layer, and dashed that of random orders.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        steps = torch.arange(1, 1 + len(self.layers)).double()
        control = self.control_similarity.nanmean().reshape(1, 1).expand(1, len(steps))
        curves = {"layers random": self.similarity.nanmean(dim=0, keepdim=True), "entries at random": control}
        purpose = "ParameterRandomisation.plot()"
        return curve_chart(steps, curves, "layers at random, from the last", "rank correlation", purpose=purpose)


@method(
    Reference(
        authors="Julius Adebayo, Justin Gilmer, Michael Muelly, Ian Goodfellow, Moritz Hardt, Been Kim",
        title="Sanity Checks for Saliency Maps",
        venue="NeurIPS",
        year=2018,
        arxiv="1810.03292",
    ),
    cost="an explanation of all samples for each layer, and a copy of the model",
)
def parameter_randomisation(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    explainer: Any = None,
    target: Int64[Tensor, " N"] | None = None,
    *,
    layers: Sequence[str] | None = None,
    absolute: bool = True,
    draws: int = 5,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> ParameterRandomisation:
    """Return how alike maps stay while the layers of a model are randomised one after the other, from the last.

    After step l the parameters of the l last layers are random: each tensor is drawn anew from the normal distribution
    with the mean and the standard deviation of its own entries, so that activations keep their size. Buffers, such as
    the running statistics of batch normalisation, stay. The class is that of the model as it was. The maps of a method
    that explains the model lose their likeness to those before; those of an edge detector do not.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. A copy of it is
            randomised; it is left as found.
        inputs: (N, ...) floating point, on the model's device.
        explainer: as :func:`trueline.explain.attribute` takes it, but not bound to a model.
        target: (N,) class numbers, int64, or None for the classes that the model predicts for these inputs.
        layers: dotted names of the modules to randomise, the first first; None for all that hold parameters of their
            own, the last defined first.
        absolute: compare absolute values, since a random model turns signs at random.
        draws: random orders of the maps' entries for the control, at least 2.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        generator: draws the random orders, then the parameters; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, a layer does not exist or holds no parameters, maps are given in the
            place of an explainer, or maps or logits are not finite.
        TypeError: if a dtype is wrong, or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        >>> parameter_randomisation(model, torch.randn(5, 6)).layers
        ('2', '0')
        >>> def edges(model, inputs, target):
        ...     return inputs
        >>> found = parameter_randomisation(model, torch.randn(5, 6), edges)
        >>> bool((found.similarity > 1 - 1e-12).all())
        True
    """
    check_draws(draws)
    if isinstance(explainer, Tensor):
        raise TypeError("parameter_randomisation explains several models, so it needs an explainer, not maps")
    before = attribute(model, inputs, target, explainer=explainer, chunk_size=chunk_size)
    generator = default_generator(generator)
    names = _layers(model, layers)
    maps = before.maps.abs() if absolute else before.maps
    orders = random_orders(maps[0].numel(), draws, generator)
    control = [rank_correlation(maps.flatten(1), maps.flatten(1)[:, order]) for order in orders]
    twin, found, drawn = copy.deepcopy(model), [], set[int]()
    for name in names:
        _randomise(twin.get_submodule(name), drawn, generator)
        after = attribute(twin, inputs, before.target.to(inputs.device), explainer=explainer, chunk_size=chunk_size)
        found.append(rank_correlation(maps, after.maps.abs() if absolute else after.maps))
    return ParameterRandomisation(
        similarity=torch.stack(found, dim=1),
        control_similarity=torch.stack(control, dim=1),
        target=before.target,
        means=tuple(_mean(values) for values in found),
        layers=names,
        absolute=absolute,
        explainer=before.explainer,
    )


def _layers(model: nn.Module, layers: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the modules to randomise, in order."""
    holding = [name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))]
    names = tuple(reversed(holding)) if layers is None else tuple(layers)
    if not names:
        raise ValueError("there is no layer to randomise: the model has no parameters, or layers is empty")
    every = dict(model.named_modules())
    for name in names:
        if name not in every or not any(True for _ in every[name].parameters()):
            raise ValueError(
                f"{name!r} is no module of the model with parameters; it has {', '.join(map(repr, holding))}"
            )
    return names


def _randomise(layer: nn.Module, drawn: set[int], generator: torch.Generator) -> None:
    """Draw the parameters of a layer anew, each once where layers share it."""
    for parameter in layer.parameters():
        if id(parameter) in drawn or not parameter.is_floating_point():
            continue
        drawn.add(id(parameter))
        values = parameter.detach().double()
        noise = torch.randn(values.shape, generator=generator, device=generator.device, dtype=torch.float64)
        with torch.no_grad():
            parameter.copy_(values.mean() + values.std(correction=0) * noise.to(values.device))


def _mean(values: Float[Tensor, " N"]) -> Interval:
    defined = values[~values.isnan()]
    return Interval.of_mean(defined) if len(defined) else Interval(torch.nan, torch.nan, torch.nan)
