"""Weights to start from: He et al. for layers before a ReLU, Fixup for residual branches without batch norm."""

from collections.abc import Iterable

import torch
from torch import nn


def he_initialise(network: nn.Module) -> None:
    """Draw every weight from N(0, 2 / fan-in) and set every bias to zero (He et al. 2015, arXiv 1502.01852).

    Args:
        network: a module whose convolutions and linear layers are changed in place.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.no_grad()
def fixup_initialise(branches: Iterable[tuple[nn.Conv2d, nn.Conv2d]]) -> None:
    """Start every residual branch at zero and damp its first layer (Zhang et al. 2019, arXiv 1901.09321).

    With L branches of two convolutions each, the first is divided by sqrt(L) and the second is zero, so that
    a step of the optimiser changes the function by an amount that does not grow with L. Unlike the publication,
    the linear layer after the branches does not start at zero, and the biases are those of the convolutions.

    Args:
        branches: the two convolutions of every branch, already drawn by :func:`he_initialise`.
    """
    branches = list(branches)
    for first, last in branches:
        first.weight /= len(branches) ** 0.5
        nn.init.zeros_(last.weight)
