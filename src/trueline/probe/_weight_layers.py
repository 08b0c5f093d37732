"""The layers of a model that multiply by weights: convolutions and linear layers."""

import math

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

WeightLayer = _ConvNd | nn.Linear


def weight_layers(model: nn.Module, *, linear: bool = True) -> dict[str, WeightLayer]:
    """Return the convolutions of a model, transposed ones included, and its linear layers, by name.

    Args:
        model: any module; a layer with several names comes under its first.
        linear: whether linear layers are wanted.

    Raises:
        ValueError: if a layer that is wanted is lazy and has not run yet.
    """
    kinds = WeightLayer if linear else _ConvNd
    layers = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    for name, layer in layers.items():
        if any(is_lazy(parameter) for parameter in layer.parameters()):
            raise ValueError(f"the layer {name!r} has no shape yet; run the lazy model once before")
    return layers


def sees_one_pixel(layer: WeightLayer) -> bool:
    """Return whether a layer is a convolution whose kernel has one pixel.

    Args:
        layer: the layer.
    """
    return isinstance(layer, _ConvNd) and math.prod(layer.kernel_size) == 1
