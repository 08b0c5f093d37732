"""How far training has moved the parameters of a network, relative to where they began."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import ACCENT, Record, Reference, import_optional, method, plain_chart


@dataclass(frozen=True)
class ParameterDistance:
    """The way of one parameter, or of all parameters of one layer together.

    Args:
        name: of the parameter or the layer.
        initial_norm: Euclidean (Frobenius) norm at the start.
        distance: norm of the change.
        relative: ``distance / initial_norm``; None where that began at zero, as biases and residual branches may.
        largest_change: largest absolute change of an entry.
        relative_largest: that over the largest absolute entry at the start; None likewise.
        initial_spectral: spectral norm of a matrix at the start; None for what is no matrix.
        spectral_change: spectral norm of its change; None likewise. A network of dense layers has
            ``Π‖W‖₂ <= Π(‖W⁰‖₂ + ‖W - W⁰‖₂)``.
    """

    name: str
    initial_norm: float
    distance: float
    relative: float | None
    largest_change: float
    relative_largest: float | None
    initial_spectral: float | None = None
    spectral_change: float | None = None


@dataclass(frozen=True, eq=False)
class InitialisationDistance(Record):
    """Distances of all parameters from their start.

    Args:
        distances: (P,) norm of the change of each parameter, in the order of the model.
        parameters: the same and more of each parameter.
        layers: of each module that has parameters of its own, taken together.
        distance: ``‖θ - θ⁰‖`` of all parameters.
        relative: ``‖θ - θ⁰‖ / ‖θ⁰‖``; None if all began at zero.
    """

    distances: Float[Tensor, " P"]
    parameters: tuple[ParameterDistance, ...]
    layers: tuple[ParameterDistance, ...]
    distance: float
    relative: float | None

    units: ClassVar[Mapping[str, str]] = {
        "distances": "unit of the parameters",
        "distance": "unit of the parameters",
        "relative": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        relative = "" if self.relative is None else f", {self.relative:.4g} times the norm they began with"
        lines = [f"the parameters are {self.distance:.4g} from where they began{relative}"]
        moved = [layer for layer in self.layers if layer.relative is not None]
        if moved:
            far = max(moved, key=lambda layer: layer.relative or 0.0)
            lines.append(f"farthest for its size: {far.name or 'the model itself'}, {far.relative:.4g} times its norm")
        if zeros := sum(parameter.relative is None for parameter in self.parameters):
            lines.append(f"{zeros} of {len(self.parameters)} parameters began at zero: no relative distance")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the relative distance of each layer that did not begin at zero.

        The background is transparent and the colours read on light and on dark pages.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="InitialisationDistance.plot()")
        rows = [
            {"layer": layer.name or "(model)", "relative": layer.relative}
            for layer in self.layers
            if layer.relative is not None
        ]
        return plain_chart(
            alt.Chart(alt.Data(values=rows))
            .mark_bar(color=ACCENT)
            .encode(
                x=alt.X("relative:Q", title="distance / norm at the start"),
                y=alt.Y("layer:N", sort=None, title=None),
                tooltip=["layer:N", alt.Tooltip("relative:Q", format=".3g")],
            )
        )


@method(
    Reference(
        authors="Vaishnavh Nagarajan, J. Zico Kolter",
        title="Generalization in Deep Networks: The Role of Distance from Initialization",
        venue="NeurIPS Workshop on Deep Learning: Bridging Theory and Practice",
        year=2017,
        arxiv="1901.01672",
    ),
    Reference(
        authors="Matteo Gamba, Hossein Azizpour, Mårten Björkman",
        title="On the Lipschitz Constant of Deep Networks and Double Descent",
        venue="BMVC",
        year=2023,
        arxiv="2301.12309",
    ),
    cost="two singular value decompositions for each matrix; no pass through the model",
)
def distance_from_initialisation(
    model: nn.Module, initial: nn.Module | Mapping[str, Float[Tensor, "..."]]
) -> InitialisationDistance:
    """Return how far each parameter is from its value at the start.

    ``‖W - W⁰‖_F / ‖W⁰‖_F`` for each parameter and each layer, ``max|W - W⁰| / max|W⁰|``, and ``‖θ - θ⁰‖`` of all. As
    ``Π_l ‖W_l‖ <= Π_l (‖W_l⁰‖ + ‖W_l - W_l⁰‖)``, a network near its start is bounded everywhere, not on data alone.
    Buffers, such as the statistics of batch norm, are no parameters.

    Args:
        model: the trained module.
        initial: the module at the start, or its state dict, whose further entries are ignored.

    Returns:
        The record, its tensors float64 on the CPU.

    Raises:
        TypeError: if the model is not a module, or the start neither module nor mapping.
        ValueError: if the model has no parameters, one is missing at the start or has another shape, or is not finite.

    Example:
        >>> initial, model = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> _ = initial.load_state_dict({"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.zeros(1)})
        >>> _ = model.load_state_dict({"weight": torch.tensor([[6.0, 8.0]]), "bias": torch.ones(1)})
        >>> weight, bias = distance_from_initialisation(model, initial).parameters
        >>> (weight.distance, weight.relative), (bias.distance, bias.relative)
        ((5.0, 1.0), (1.0, None))
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not isinstance(initial, nn.Module | Mapping):
        raise TypeError(f"initial must be a module or a state dict, got {type(initial).__name__}")
    start = dict(initial.named_parameters() if isinstance(initial, nn.Module) else initial)
    pairs = {name: _pair(name, now, start) for name, now in model.named_parameters()}
    if not pairs:
        raise ValueError("the model has no parameters, and so no distance from its initialisation")
    layers: dict[str, list[str]] = {}
    for name in pairs:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    parameters = tuple(_distance(name, *pair) for name, pair in pairs.items())
    whole = _distance("", *_joined(list(pairs.values())))
    return InitialisationDistance(
        distances=torch.tensor([parameter.distance for parameter in parameters], dtype=torch.float64),
        parameters=parameters,
        layers=tuple(_distance(layer, *_joined([pairs[name] for name in names])) for layer, names in layers.items()),
        distance=whole.distance,
        relative=whole.relative,
    )


def _pair(name: str, now: Tensor, start: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return a parameter at the start and now, float64 on the CPU."""
    if name not in start:
        raise ValueError(f"initial has no parameter {name!r}; it must be of the same architecture as the model")
    before = start[name]
    if before.shape != now.shape:
        raise ValueError(f"{name!r} has shape {tuple(now.shape)}, but {tuple(before.shape)} in initial")
    pair = before.detach().cpu().double(), now.detach().cpu().double()
    for tensor, where in zip(pair, ("initial", "the model"), strict=True):
        if not tensor.isfinite().all():
            raise ValueError(f"{name!r} is not finite in {where}")
    return pair


def _joined(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    before, now = (torch.cat([tensor.flatten() for tensor in column]) for column in zip(*pairs, strict=True))
    return before, now


def _distance(name: str, before: Tensor, now: Tensor) -> ParameterDistance:
    change = now - before
    norm, distance = before.norm().item(), change.norm().item()
    largest, most = (tensor.abs().max().item() if tensor.numel() else 0.0 for tensor in (change, before))
    spectral: list[float | None] = [None, None]
    if before.ndim == 2 and before.numel():
        spectral = [torch.linalg.matrix_norm(tensor, 2).item() for tensor in (before, change)]
    return ParameterDistance(
        name=name,
        initial_norm=norm,
        distance=distance,
        relative=distance / norm if norm else None,
        largest_change=largest,
        relative_largest=largest / most if most else None,
        initial_spectral=spectral[0],
        spectral_change=spectral[1],
    )
