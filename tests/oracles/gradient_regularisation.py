"""Regularised gradients of a function of a few numbers, by central differences and plain loops."""

from collections.abc import Callable

Function = Callable[[list[float]], float]


def gradient(function: Function, at: list[float], width: float = 1e-5) -> list[float]:
    found = []
    for place in range(len(at)):
        above, below = list(at), list(at)
        above[place] += width
        below[place] -= width
        found.append((function(above) - function(below)) / (2 * width))
    return found


def forward(function: Function, at: list[float], gamma: float, epsilon: float) -> list[float]:
    here = gradient(function, at)
    there = gradient(function, [value + epsilon * slope for value, slope in zip(at, here, strict=True)])
    return [old + gamma / epsilon * (new - old) for old, new in zip(here, there, strict=True)]


def backward(function: Function, at: list[float], gamma: float, epsilon: float) -> list[float]:
    here = gradient(function, at)
    there = gradient(function, [value - epsilon * slope for value, slope in zip(at, here, strict=True)])
    return [old + gamma / epsilon * (old - new) for old, new in zip(here, there, strict=True)]


def double(function: Function, at: list[float], gamma: float) -> list[float]:
    """Gradient of the function plus half gamma times its squared slope, the latter differentiated as a whole."""

    def penalty(point: list[float]) -> float:
        return sum(slope * slope for slope in gradient(function, point)) / 2

    turns = gradient(penalty, at, 1e-3)
    return [slope + gamma * turn for slope, turn in zip(gradient(function, at), turns, strict=True)]
