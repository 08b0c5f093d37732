"""Attention rollout of one sample, entry by entry."""

from collections.abc import Sequence

import torch
from torch import Tensor


def attention_rollout(layers: Sequence[Tensor]) -> Tensor:
    """Return the product of the row-normalised ``½(mean over heads + I)`` of (heads, T, T) weights, last one first."""
    tokens = layers[0].shape[-1]
    rolled = [[float(i == j) for j in range(tokens)] for i in range(tokens)]
    for weights in layers:
        mixing = []
        for i in range(tokens):
            row = [(float(weights[:, i, j].mean()) + (i == j)) / 2 for j in range(tokens)]
            mixing.append([entry / sum(row) for entry in row])
        rolled = [
            [sum(mixing[i][k] * rolled[k][j] for k in range(tokens)) for j in range(tokens)] for i in range(tokens)
        ]
    return torch.tensor(rolled, dtype=torch.float64)
