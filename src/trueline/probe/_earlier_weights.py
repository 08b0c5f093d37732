"""The parameters of a layer at an earlier state: one that is given, or a random initialisation."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor

from trueline.probe._weight_layers import WeightLayer


def weights_of_state(
    name: str, layer: WeightLayer, state: Mapping[str, Shaped[Tensor, "..."]]
) -> dict[str, Shaped[Tensor, "..."]]:
    """Return the layer's parameters of a state dict, under their full names.

    Args:
        name: of the layer in its model.
        layer: the module.
        state: of a model of the same architecture.

    Raises:
        ValueError: if a parameter is missing, has another shape or is not finite.
    """
    found = {}
    for own, parameter in layer.named_parameters(prefix=name):
        if own not in state:
            raise ValueError(f"reference must hold {own!r}; give a state dict of the same model")
        value = state[own]
        if value.shape != parameter.shape:
            raise ValueError(f"{own!r} of reference must have shape {tuple(parameter.shape)}, got {tuple(value.shape)}")
        if not value.isfinite().all():
            raise ValueError(f"{own!r} of reference must be finite, got NaN or infinity")
        found[own] = value.detach().to(parameter)
    return found


def drawn_weights(name: str, layer: WeightLayer, generator: torch.Generator) -> dict[str, Shaped[Tensor, "..."]]:
    """Return parameters as PyTorch initialises them, from U(-1/√fan_in, 1/√fan_in), under their full names.

    Args:
        name: of the layer in its model.
        layer: the module.
        generator: draws them, on its device.

    Raises:
        ValueError: if the layer is parametrised, so that its parameters are not its weights.
    """
    named = dict(layer.named_parameters(prefix=name))
    prefix = f"{name}." if name else ""
    if set(named) - {f"{prefix}weight", f"{prefix}bias"}:
        raise ValueError(f"the layer {name!r} is parametrised and has no random weights; give a state dict instead")
    bound = 1 / math.sqrt(layer.weight[0].numel())
    return {
        own: torch.empty(parameter.shape, dtype=torch.float64, device=generator.device)
        .uniform_(-bound, bound, generator=generator)
        .to(parameter)
        for own, parameter in named.items()
    }
