"""Logistic regression on a stream by online Newton steps, Hazan, Agarwal and Kale (2007), in plain floats."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from trueline.contracts import Stream
from trueline.numerics import newton_root

Features = Callable[[float], tuple[float, ...]]


class OnlineNewton(Stream):
    """``P = σ(θᵀx)``; after each label ``A ← A + ggᵀ`` and ``θ ← θ - A⁻¹g/β`` for the gradient ``g = (P - y)x``.

    The start is ``θ = 0`` and ``A = I/(βD)²``. A⁻¹ is kept beside A by the rule of Sherman and Morrison. A θ longer
    than the radius goes back to the nearest point of that ball in the norm of A.
    """

    def __init__(
        self, learned: Mapping[str, Any], features: Features, beta: float, diameter: float, radius: float
    ) -> None:
        self.features, self.beta, self.radius = features, beta, radius
        size = len(features(0.0))
        if learned:
            self.theta = learned["theta_"].tolist()
            self.matrix, self.inverse = learned["matrix_"].tolist(), learned["inverse_"].tolist()
        else:
            start = (beta * diameter) ** 2
            self.theta = [0.0] * size
            self.matrix = [[1 / start if i == j else 0.0 for j in range(size)] for i in range(size)]
            self.inverse = [[start if i == j else 0.0 for j in range(size)] for i in range(size)]

    def predict(self, log_odds: float) -> float:
        return _sigmoid(sum(map(float.__mul__, self.theta, self.features(log_odds))))

    def update(self, log_odds: float, label: int) -> float:
        x = self.features(log_odds)
        stated = _sigmoid(sum(map(float.__mul__, self.theta, x)))
        gradient = [(stated - label) * value for value in x]
        step = [sum(map(float.__mul__, row, gradient)) for row in self.inverse]
        scale = 1 + sum(map(float.__mul__, gradient, step))
        for i, (row, inverse_row) in enumerate(zip(self.matrix, self.inverse, strict=True)):
            left, right = gradient[i], step[i] / scale
            for j, value in enumerate(gradient):
                row[j] += left * value
                inverse_row[j] -= right * step[j]
        # With the new inverse A⁻¹g is the old one's A⁻¹g over the same scale.
        self.theta = [value - change / (self.beta * scale) for value, change in zip(self.theta, step, strict=True)]
        if math.hypot(*self.theta) > self.radius:
            self.theta = _projected(self.theta, self.matrix, self.radius)
        return stated

    def learned(self) -> dict[str, Any]:
        values = {"theta_": self.theta, "matrix_": self.matrix, "inverse_": self.inverse}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def _sigmoid(log_odds: float) -> float:
    """Return ``1 / (1 + exp(-z))`` without overflow."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    small = math.exp(log_odds)
    return small / (1 + small)


def _projected(theta: list[float], matrix: list[list[float]], radius: float) -> list[float]:
    """Return the point of the ball that minimises ``(θ' - θ)ᵀA(θ' - θ)``: ``(A + μI)⁻¹Aθ`` for one μ > 0."""
    values, vectors = torch.linalg.eigh(torch.tensor(matrix, dtype=torch.float64))
    inside = vectors.T @ torch.tensor(theta, dtype=torch.float64)

    def shrunk(mu: float) -> Tensor:
        point: Tensor = inside * values / (values + mu)
        return point

    def excess(mu: float) -> tuple[float, float]:
        point = shrunk(mu)
        return radius**2 - (point @ point).item(), 2 * (point @ (point / (values + mu))).item()

    # At the upper end even the direction that shrinks least has shrunk enough.
    high = values[-1].item() * (math.hypot(*theta) / radius)
    found = newton_root(excess, 0.0, high, start=0.0, tolerance=1e-14 * high)
    point = vectors @ shrunk(found)
    result: list[float] = (point * min(1.0, radius / point.norm().item())).tolist()
    return result


def check_options(owner: str, beta: float, diameter: float, radius: float) -> None:
    """Refuse options that are no positive numbers.

    Args:
        owner: the name of the class, for the message.
        beta: as there.
        diameter: as there.
        radius: as there.

    Raises:
        ValueError: if one is not positive and finite.
    """
    for name, value in {"beta": beta, "diameter": diameter, "radius": radius}.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{owner} needs a positive, finite {name}, got {value}")
