"""Guided backpropagation through an MLP of ReLUs, one sample and one unit at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def guided_backpropagation(layers: Sequence[nn.Linear], x: Tensor, target: int) -> Tensor:
    """Return the guided gradient of one logit of ``layers`` with a ReLU between any two, for one sample (D,)."""
    entering, sums = x.tolist(), []
    for place, layer in enumerate(layers):
        rows, biases = layer.weight.tolist(), layer.bias.tolist()
        z = [sum(w * e for w, e in zip(row, entering, strict=True)) + b for row, b in zip(rows, biases, strict=True)]
        sums.append(z)
        entering = z if place == len(layers) - 1 else [max(value, 0.0) for value in z]
    slope = [float(unit == target) for unit in range(len(sums[-1]))]
    for place in reversed(range(len(layers))):
        if place < len(layers) - 1:
            slope = [max(s, 0.0) if z > 0 else 0.0 for s, z in zip(slope, sums[place], strict=True)]
        rows = layers[place].weight.tolist()
        slope = [sum(slope[unit] * rows[unit][entry] for unit in range(len(rows))) for entry in range(len(rows[0]))]
    return torch.tensor(slope, dtype=x.dtype)
