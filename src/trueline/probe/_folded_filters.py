"""The filters of a layer, with the batch norm behind it folded in."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from trueline.probe._weight_layers import WeightLayer


class FoldedFilters:
    """The F filters of one layer that are not zero, in double precision on the CPU.

    Args:
        name: of the layer.
        layer: the module.
        norm: the batch norm that gets its output, or None.
        first: whether it runs first.

    Attributes:
        fan_in: d, weights of a filter.
        zero_filters: how many are left out.
        channel: (F,) place of each in the layer.
        scales: (F,) of the batch norm, 1 without one.
        sums: (F,) of the weights, as they are.
        cosines: (F,) with the all-ones direction, of the weights as they are.
        intercepts: (F,) constant inputs at which a filter and its batch norm give 0; infinite if there is none.

    Raises:
        ValueError: if a weight is not finite, or the batch norm tracks no statistics.
    """

    def __init__(self, name: str, layer: WeightLayer, norm: _BatchNorm | None, first: bool) -> None:
        self.name, self.norm, self.first = name, norm, first
        weight = _double(layer.weight).flatten(1)
        if not weight.isfinite().all():
            raise ValueError(f"the weights of {name!r} must be finite, got NaN or infinity")
        bias = torch.zeros(len(weight), dtype=torch.float64) if layer.bias is None else _double(layer.bias)
        used = weight.any(dim=1)
        self.fan_in = weight.shape[1]
        self.zero_filters = int((~used).sum())
        self.channel = used.nonzero().squeeze(1)
        self.sums = weight[used].sum(dim=1)
        self.cosines = self.sums / (weight[used].norm(dim=1) * math.sqrt(self.fan_in))
        scales, offsets = (torch.ones_like(bias), bias) if norm is None else _folded(name, bias, norm)
        self.scales = scales[used]
        slope = self.scales * self.sums
        parallel = slope == 0
        self.intercepts = torch.where(parallel, math.inf, -offsets[used] / torch.where(parallel, 1, slope))

    def raw(self) -> tuple[Float[Tensor, " F"], int]:
        """Return the cosines of the weights as they are, and d."""
        return self.cosines, self.fan_in

    def folded(self) -> tuple[Float[Tensor, " F"], int]:
        """Return the cosines with the batch norm folded in, of the filters that it does not silence, and d."""
        audible = self.scales != 0
        return self.cosines[audible] * self.scales[audible].sign(), self.fan_in


def _folded(name: str, bias: Tensor, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return what the batch norm makes of the factor 1 and of the bias of each channel."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(f"the batch norm after {name!r} has no running statistics; use track_running_stats=True")
    scale = (_double(norm.running_var) + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * _double(norm.weight)
    offset = scale * (bias - _double(norm.running_mean))
    return scale, offset if norm.bias is None else offset + _double(norm.bias)


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()
