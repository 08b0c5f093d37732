"""Multicalibration as plain loops: the error K_2, stumps by trying every split, and boosting of level sets."""

import itertools
import math


def to_level(value, levels):
    """The nearest whole number of 1/levels, the upper one halfway."""
    return min(max(math.floor(value * levels + 0.5), 0), levels)


def k2(targets, predictions, function, levels=None):
    """The sum over level sets of P(v) times the squared mean of h(y - v)."""
    values = [p if levels is None else to_level(p, levels) / levels for p in predictions]
    total = 0.0
    for v in set(values):
        own = [i for i in range(len(values)) if values[i] == v]
        mean = math.fsum(function[i] * (targets[i] - v) for i in own) / len(own)
        total += len(own) / len(values) * mean**2
    return total


def stump(inputs, targets):
    """(feature, threshold, below, above) with the least squared error, found by trying all."""
    mean = math.fsum(targets) / len(targets)
    best = (math.fsum((y - mean) ** 2 for y in targets) - 1e-12, (0, 0.0, mean, mean))
    for d in range(len(inputs[0])):
        values = sorted({row[d] for row in inputs})
        for low, high in itertools.pairwise(values):
            cut = (low + high) / 2
            sides = [
                [y for row, y in zip(inputs, targets, strict=True) if (row[d] > cut) == up] for up in (False, True)
            ]
            means = [math.fsum(side) / len(side) for side in sides]
            error = math.fsum((y - m) ** 2 for side, m in zip(sides, means, strict=True) for y in side)
            if error < best[0] - 1e-12:
                best = (error, (d, cut, *means))
    return best[1]


def boost(inputs, targets, start, levels, rounds, smallest):
    """Predictions after a number of rounds with stumps, on the samples they are fitted to."""
    predictions = list(start)
    for _ in range(rounds):
        places = [to_level(p, levels) for p in predictions]
        predictions = [place / levels for place in places]
        for v in set(places):
            own = [i for i in range(len(places)) if places[i] == v]
            if len(own) < smallest:
                continue
            d, cut, below, above = stump([inputs[i] for i in own], [targets[i] for i in own])
            for i in own:
                predictions[i] = min(max(above if inputs[i][d] > cut else below, 0.0), 1.0)
    return predictions
