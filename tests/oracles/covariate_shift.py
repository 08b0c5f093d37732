"""Weighted conformal prediction and its likelihood ratios as the definitions read, in plain loops."""

import math


def p_value(scores: list[float], weights: list[float], score: float, weight: float) -> float:
    above = sum(w for s, w in zip(scores, weights, strict=True) if s >= score)
    return (above + weight) / (sum(weights) + weight)


def threshold(scores: list[float], weights: list[float], weight: float, alpha: float) -> float:
    """The smallest score with enough weight up to it, counting the new sample's own at infinity."""
    for candidate in sorted(scores):
        up_to = sum(w for s, w in zip(scores, weights, strict=True) if s <= candidate)
        if up_to >= (1 - alpha) * (sum(weights) + weight) - 1e-12:
            return candidate
    return math.inf


def pinball_loss(scores: list[float], features: list[list[float]], weights: list[float], tau: float) -> float:
    total = 0.0
    for score, row in zip(scores, features, strict=True):
        error = score - sum(a * b for a, b in zip(row, weights, strict=True))
        total += tau * error if error >= 0 else (tau - 1) * error
    return total / len(scores)


def lr_qr_objective(
    scores: list[float],
    features: list[list[float]],
    source: list[list[float]],
    target: list[list[float]],
    weights: list[float],
    beta: float,
    tau: float,
    strength: float,
) -> float:
    """The published objective in γ and β, without a constant feature of its own."""

    def values(rows: list[list[float]]) -> list[float]:
        return [sum(a * b for a, b in zip(row, weights, strict=True)) for row in rows]

    square = sum(h * h for h in values(source)) / len(source)
    mean = sum(values(target)) / len(target)
    return pinball_loss(scores, features, weights, tau) + strength * (beta**2 * square - 2 * beta * mean)
