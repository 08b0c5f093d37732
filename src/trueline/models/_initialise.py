"""Weights to start from: He et al. before a ReLU, ours before a softplus, Fixup for branches without batch norm."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F


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


def softplus_initialise(network: nn.Module, sharpness: float) -> None:
    """Draw weights that keep the variance of pre-activations from layer to layer, and set every bias to zero.

    He et al. give inputs of mean square 1 pre-activations of variance 2, layer after layer. So do these weights, with
    ``φ(x) = ln(1 + e^(bx))/b`` in the place of ReLU: ``N(0, 2 / fan-in)`` in the first layer, which sees the inputs,
    and ``N(0, 2 / (fan-in · E[φ(√2 z)²]))``, z standard normal, in those that see φ. As b grows the expectation goes to
    1, that of ReLU. The rule is ours. What it keeps is the variance over the weights: φ is positive, so that at small b
    most of its mean square is the same for every input, and inputs come closer to each other with every layer.

    Args:
        network: a module whose convolutions and linear layers, one after another, are changed in place.
        sharpness: b, positive and finite.

    Raises:
        ValueError: if the sharpness is not positive or not finite.
    """
    if not (sharpness > 0 and math.isfinite(sharpness)):
        raise ValueError(f"softplus must be a positive sharpness, or None for ReLU, got {sharpness}")
    he_initialise(network)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    factor = mean_square_of_softplus(sharpness) ** -0.5
    with torch.no_grad():
        for layer in layers[1:]:
            layer.weight *= factor


def mean_square_of_softplus(sharpness: float) -> float:
    """Return ``E[φ(√2 z)²]`` of ``φ(x) = ln(1 + e^(bx))/b`` and a standard normal z; that of ReLU is 1.

    Args:
        sharpness: b, positive.

    Returns:
        The expectation by the trapezoidal rule, to about 1e-6 relative.

    Example:
        >>> [round(mean_square_of_softplus(b), 3) for b in (1e6, 10.0, 1.0)]
        [1.0, 1.001, 1.382]
    """
    z = torch.linspace(-12, 12, 8001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    values = F.softplus(math.sqrt(2) * z, beta=sharpness)
    return torch.trapezoid(values.square() * density, z).item()


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
